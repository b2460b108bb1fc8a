/* The activations of recurrent operators, of one floating type: see each_real.h. */

static REAL TYPED(squashed)(const deft_recurrent *r, deft_squash squash, REAL x) {
    REAL clip = (REAL)r->clip;
    x = x > clip ? clip : x < -clip ? -clip : x;
    switch (squash) {
    case DEFT_SQUASH_SIGMOID:
        return 1 / (1 + exp(-x));
    case DEFT_SQUASH_TANH:
        return tanh(x);
    default:
        return x < 0 ? 0 : x;
    }
}

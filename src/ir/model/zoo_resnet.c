/* Residual networks. Where a block changes the shape, its shortcut is a 1x1 convolution with batch normalisation
 * (option B). source: HE2016 */
#include "ir/model/zoo_builder.h"

/* `convs` end in a convolution without ReLU; the sum has it. */
static deft_status add_block(deft_zoo_builder *b, const deft_zoo_layer *convs, int count) {
    const deft_zoo_builder before = *b;
    int64_t stride = 1;
    for (int i = 0; i < count; i++) {
        if (convs[i].stride) stride = convs[i].stride;
        DEFT_TRY(deft_zoo_add_conv_bn(b, convs[i], i + 1 < count));
    }
    int residual = b->value, shortcut = before.value;
    if (stride > 1 || b->channels != before.channels) {
        deft_zoo_layer projection = {.channels = b->channels, .kernel = 1, .stride = stride};
        b->value = before.value;
        b->channels = before.channels;
        b->side = before.side;
        DEFT_TRY(deft_zoo_add_conv_bn(b, projection, false));
        shortcut = b->value;
    }
    return deft_zoo_add_sum_relu(b, residual, shortcut);
}

static deft_status add_basic_block(deft_zoo_builder *b, int64_t channels, int64_t stride) {
    const deft_zoo_layer convs[] = {{.channels = channels, .kernel = 3, .stride = stride, .pad = 1},
                                    {.channels = channels, .kernel = 3, .pad = 1}};
    return add_block(b, convs, 2);
}

/* The stride is in its first convolution, as in the paper. */
static deft_status add_bottleneck(deft_zoo_builder *b, int64_t channels, int64_t stride) {
    const deft_zoo_layer convs[] = {{.channels = channels, .kernel = 1, .stride = stride},
                                    {.channels = channels, .kernel = 3, .pad = 1},
                                    {.channels = 4 * channels, .kernel = 1}};
    return add_block(b, convs, 3);
}

/* Each stage but the first halves the picture and doubles the channels; then the mean of each, and the classes. */
static deft_status add_stages(deft_zoo_builder *b, deft_status (*add)(deft_zoo_builder *, int64_t, int64_t),
                              int64_t channels, const int *depth, int stages, int64_t classes) {
    for (int stage = 0; stage < stages; stage++)
        for (int i = 0; i < depth[stage]; i++)
            DEFT_TRY(add(b, channels << stage, stage > 0 && i == 0 ? 2 : 1));
    DEFT_TRY(deft_zoo_add_layers(b, &(deft_zoo_layer){.kind = DEFT_ZOO_GLOBAL_POOL}, 1));
    return deft_zoo_add_classifier(b, &classes, 1);
}

deft_status deft_zoo_resnet_20(deft_zoo_builder *b) {
    DEFT_TRY(deft_zoo_add_input(b, 3, 32));
    DEFT_TRY(deft_zoo_add_conv_bn(b, (deft_zoo_layer){.channels = 16, .kernel = 3, .pad = 1}, true));
    return add_stages(b, add_basic_block, 16, (const int[]){3, 3, 3}, 3, 10);
}

deft_status deft_zoo_resnet_50(deft_zoo_builder *b) {
    const deft_zoo_layer pool = {.kind = DEFT_ZOO_MAX_POOL, .kernel = 3, .stride = 2, .pad = 1};
    DEFT_TRY(deft_zoo_add_input(b, 3, 224));
    DEFT_TRY(deft_zoo_add_conv_bn(b, (deft_zoo_layer){.channels = 64, .kernel = 7, .stride = 2, .pad = 3}, true));
    DEFT_TRY(deft_zoo_add_layers(b, &pool, 1));
    return add_stages(b, add_bottleneck, 64, (const int[]){3, 4, 6, 3}, 4, 1000);
}

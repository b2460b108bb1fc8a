/* Networks that are one row of layers: the LeNets, CifarNet, AlexNet, VGG, MobileNet. */
#include "ir/model/zoo_builder.h"

#define LAYERS(layers)  layers, (int)(sizeof(layers) / sizeof *(layers))
#define CLASSIFIER(...) (const int64_t[]){__VA_ARGS__}, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t))

/* source: LECUN1998 */
deft_status deft_zoo_lenet_300_100(deft_zoo_builder *b) {
    DEFT_TRY(deft_zoo_add_input(b, 1, 28));
    return deft_zoo_add_classifier(b, CLASSIFIER(300, 100, 10));
}

/* Caffe's variant, whose only nonlinearity is behind the first linear layer. source: HAN2015 */
deft_status deft_zoo_lenet_5(deft_zoo_builder *b) {
    static const deft_zoo_layer layers[] = {
        {.kind = DEFT_ZOO_CONV, .channels = 20, .kernel = 5},
        {.kind = DEFT_ZOO_MAX_POOL, .kernel = 2, .stride = 2},
        {.kind = DEFT_ZOO_CONV, .channels = 50, .kernel = 5},
        {.kind = DEFT_ZOO_MAX_POOL, .kernel = 2, .stride = 2},
    };
    DEFT_TRY(deft_zoo_add_input(b, 1, 28));
    DEFT_TRY(deft_zoo_add_layers(b, LAYERS(layers)));
    return deft_zoo_add_classifier(b, CLASSIFIER(500, 10));
}

/* Its normalisation is over channels, as the file to deploy has it, which an ONNX operator does; the file to train has
 * it over positions. source: CAFFE, cifar10_full.prototxt */
deft_status deft_zoo_cifarnet(deft_zoo_builder *b) {
    const deft_zoo_layer pool = {.kind = DEFT_ZOO_AVERAGE_POOL, .kernel = 3, .stride = 2};
    const deft_zoo_layer norm = {.kind = DEFT_ZOO_LRN, .kernel = 3, .alpha = 5e-5f, .bias = 1};
    const deft_zoo_layer relu = {.kind = DEFT_ZOO_RELU};
    const deft_zoo_layer layers[] = {
        {.kind = DEFT_ZOO_CONV, .channels = 32, .kernel = 5, .pad = 2},
        {.kind = DEFT_ZOO_MAX_POOL, .kernel = 3, .stride = 2},
        relu,
        norm,
        {.kind = DEFT_ZOO_CONV, .channels = 32, .kernel = 5, .pad = 2},
        relu,
        pool,
        norm,
        {.kind = DEFT_ZOO_CONV, .channels = 64, .kernel = 5, .pad = 2},
        relu,
        pool,
    };
    DEFT_TRY(deft_zoo_add_input(b, 3, 32));
    DEFT_TRY(deft_zoo_add_layers(b, LAYERS(layers)));
    return deft_zoo_add_classifier(b, CLASSIFIER(10));
}

/* The paper's alpha is for each square; ONNX's for their mean over the five channels. source: KRIZHEVSKY2012 */
deft_status deft_zoo_alexnet(deft_zoo_builder *b) {
    const deft_zoo_layer pool = {.kind = DEFT_ZOO_MAX_POOL, .kernel = 3, .stride = 2};
    const deft_zoo_layer norm = {.kind = DEFT_ZOO_LRN, .kernel = 5, .alpha = 5 * 1e-4f, .bias = 2};
    const deft_zoo_layer relu = {.kind = DEFT_ZOO_RELU};
    const deft_zoo_layer layers[] = {
        {.kind = DEFT_ZOO_CONV, .channels = 96, .kernel = 11, .stride = 4},
        relu,
        norm,
        pool,
        {.kind = DEFT_ZOO_CONV, .channels = 256, .kernel = 5, .pad = 2, .groups = 2},
        relu,
        norm,
        pool,
        {.kind = DEFT_ZOO_CONV, .channels = 384, .kernel = 3, .pad = 1},
        relu,
        {.kind = DEFT_ZOO_CONV, .channels = 384, .kernel = 3, .pad = 1, .groups = 2},
        relu,
        {.kind = DEFT_ZOO_CONV, .channels = 256, .kernel = 3, .pad = 1, .groups = 2},
        relu,
        pool,
    };
    DEFT_TRY(deft_zoo_add_input(b, 3, 227));
    DEFT_TRY(deft_zoo_add_layers(b, LAYERS(layers)));
    return deft_zoo_add_classifier(b, CLASSIFIER(4096, 4096, 1000));
}

/* The thirteen convolutions of configuration D. source: SIMONYAN2015 */
static deft_status add_vgg_16(deft_zoo_builder *b, bool normalised) {
    static const int64_t channels[] = {64, 128, 256, 512, 512}, depth[] = {2, 2, 3, 3, 3};
    for (int stage = 0; stage < 5; stage++) {
        const deft_zoo_layer conv = {.kind = DEFT_ZOO_CONV, .channels = channels[stage], .kernel = 3, .pad = 1};
        const deft_zoo_layer rectified[] = {conv, {.kind = DEFT_ZOO_RELU}};
        for (int i = 0; i < depth[stage]; i++)
            DEFT_TRY(normalised ? deft_zoo_add_conv_bn(b, conv, true) : deft_zoo_add_layers(b, LAYERS(rectified)));
        DEFT_TRY(deft_zoo_add_layers(b, &(deft_zoo_layer){.kind = DEFT_ZOO_MAX_POOL, .kernel = 2, .stride = 2}, 1));
    }
    return DEFT_OK;
}

deft_status deft_zoo_vgg_16(deft_zoo_builder *b) {
    DEFT_TRY(deft_zoo_add_input(b, 3, 224));
    DEFT_TRY(add_vgg_16(b, false));
    return deft_zoo_add_classifier(b, CLASSIFIER(4096, 4096, 1000));
}

/* With batch normalisation, and two linear layers. source: LI2017 */
deft_status deft_zoo_vgg_16_cifar(deft_zoo_builder *b) {
    DEFT_TRY(deft_zoo_add_input(b, 3, 32));
    DEFT_TRY(add_vgg_16(b, true));
    return deft_zoo_add_classifier(b, CLASSIFIER(512, 10));
}

/* A depthwise convolution, then a pointwise one. source: HOWARD2017 */
deft_status deft_zoo_mobilenet_v1(deft_zoo_builder *b) {
    static const struct {
        int64_t channels, stride;
    } blocks[] = {{64, 1},  {128, 2}, {128, 1}, {256, 2}, {256, 1},  {512, 2}, {512, 1},
                  {512, 1}, {512, 1}, {512, 1}, {512, 1}, {1024, 2}, {1024, 1}};
    DEFT_TRY(deft_zoo_add_input(b, 3, 224));
    DEFT_TRY(deft_zoo_add_conv_bn(b, (deft_zoo_layer){.channels = 32, .kernel = 3, .stride = 2, .pad = 1}, true));
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
        deft_zoo_layer depthwise = {
            .channels = b->channels, .kernel = 3, .stride = blocks[i].stride, .pad = 1, .groups = b->channels};
        DEFT_TRY(deft_zoo_add_conv_bn(b, depthwise, true));
        DEFT_TRY(deft_zoo_add_conv_bn(b, (deft_zoo_layer){.channels = blocks[i].channels, .kernel = 1}, true));
    }
    DEFT_TRY(deft_zoo_add_layers(b, &(deft_zoo_layer){.kind = DEFT_ZOO_GLOBAL_POOL}, 1));
    return deft_zoo_add_classifier(b, CLASSIFIER(1000));
}

"""Networks as exporters write them, with seeded weights: what bench/dense_vs_ort runs beside models from files.

build(name, path) writes one. Weights are scaled so that activations keep their size from layer to layer."""
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 13


class Net:
    """A graph in the making: each method appends nodes and returns the name of the value that the last one makes."""

    def __init__(self, name):
        self.name, self.nodes, self.constants, self.rng = name, [], [], np.random.default_rng(0)
        self.inputs, self.outputs = [], []

    def constant(self, array):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def normal(self, shape, deviation):
        return self.constant(self.rng.standard_normal(shape, np.float32) * np.float32(deviation))

    def node(self, op, *inputs, outputs=1, **attributes):
        names = [f"v{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, name=f"{op}_{len(self.nodes)}", **attributes))
        return names[0] if outputs == 1 else names

    def input(self, name, dims, dtype=TensorProto.FLOAT):
        self.inputs.append(helper.make_tensor_value_info(name, dtype, dims))
        return name

    def conv(self, x, channels, filters, kernel, stride=1, groups=1, bias=False):
        deviation = np.sqrt(2 / (channels // groups * kernel * kernel))
        operands = [x, self.normal((filters, channels // groups, kernel, kernel), deviation)]
        if bias:
            operands.append(self.normal(filters, 0.01))
        return self.node("Conv", *operands, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[kernel // 2] * 4,
                         group=groups)

    def norm(self, x, channels):
        def near(value):
            return self.constant((value + 0.05 * self.rng.standard_normal(channels)).astype(np.float32))
        return self.node("BatchNormalization", x, near(1), near(0), near(0), near(1), epsilon=1e-5)

    def conv_norm(self, x, channels, filters, kernel, stride=1, groups=1, activation="Relu"):
        y = self.norm(self.conv(x, channels, filters, kernel, stride, groups), filters)
        if activation == "Clip":
            return self.node("Clip", y, self.constant(np.float32(0)), self.constant(np.float32(6)))
        return self.node(activation, y) if activation else y

    def gemm(self, x, inner, columns):
        return self.node("Gemm", x, self.normal((columns, inner), inner ** -0.5), self.normal(columns, 0.01), transB=1)

    def save(self, path, *outputs):
        values = [helper.make_empty_tensor_value_info(name) for name in outputs]
        graph = helper.make_graph(self.nodes, self.name, self.inputs, values, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="dense_vs_ort")
        model.ir_version = 8
        onnx.save(onnx.shape_inference.infer_shapes(model), path)


def pool_and_classify(net, x, channels):
    x = net.node("Flatten", net.node("GlobalAveragePool", x))
    return net.gemm(x, channels, 1000)


def resnet50(net):
    x = net.conv_norm(net.input("x", [1, 3, 224, 224]), 3, 64, 7, 2)
    x = net.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    channels = 64
    for width, blocks, stride in (64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2):
        for block in range(blocks):
            step = stride if block == 0 else 1
            y = net.conv_norm(x, channels, width, 1)
            y = net.conv_norm(y, width, width, 3, step)
            y = net.conv_norm(y, width, 4 * width, 1, activation=None)
            if block == 0:
                x = net.conv_norm(x, channels, 4 * width, 1, step, activation=None)
            x = net.node("Relu", net.node("Add", y, x))
            channels = 4 * width
    return pool_and_classify(net, x, channels)


def vgg16(net):
    x, channels = net.input("x", [1, 3, 224, 224]), 3
    for filters, count in (64, 2), (128, 2), (256, 3), (512, 3), (512, 3):
        for _ in range(count):
            x = net.node("Relu", net.conv(x, channels, filters, 3, bias=True))
            channels = filters
        x = net.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = net.node("Flatten", x)
    x = net.node("Relu", net.gemm(x, 512 * 49, 4096))
    x = net.node("Relu", net.gemm(x, 4096, 4096))
    return net.gemm(x, 4096, 1000)


def mobilenet_v1(net):
    x, channels = net.conv_norm(net.input("x", [1, 3, 224, 224]), 3, 32, 3, 2), 32
    for filters, stride in ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)):
        x = net.conv_norm(x, channels, channels, 3, stride, channels)
        x = net.conv_norm(x, channels, filters, 1)
        channels = filters
    return pool_and_classify(net, x, channels)


def mobilenet_v2(net):
    x, channels = net.conv_norm(net.input("x", [1, 3, 224, 224]), 3, 32, 3, 2, activation="Clip"), 32
    for expand, filters, count, stride in ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
                                           (6, 160, 3, 2), (6, 320, 1, 1)):
        for block in range(count):
            step, wide = stride if block == 0 else 1, channels * expand
            y = x if expand == 1 else net.conv_norm(x, channels, wide, 1, activation="Clip")
            y = net.conv_norm(y, wide, wide, 3, step, wide, activation="Clip")
            y = net.conv_norm(y, wide, filters, 1, activation=None)
            x = net.node("Add", y, x) if step == 1 and channels == filters else y
            channels = filters
    return pool_and_classify(net, net.conv_norm(x, channels, 1280, 1, activation="Clip"), 1280)


WIDTH, HEADS, INNER, TOKENS, WORDS = 768, 12, 3072, 128, 30522


def linear(net, x, inner, columns):
    return net.node("Add", net.normal(columns, 0.01), net.node("MatMul", x, net.normal((inner, columns), inner ** -0.5)))


def layer_norm(net, x):
    """As torch.onnx wrote LayerNormalization before operator set 17."""
    centred = net.node("Sub", x, net.node("ReduceMean", x, axes=[-1]))
    variance = net.node("ReduceMean", net.node("Pow", centred, net.constant(np.float32(2))), axes=[-1])
    deviation = net.node("Sqrt", net.node("Add", variance, net.constant(np.float32(1e-12))))
    scaled = net.node("Mul", net.node("Div", centred, deviation), net.constant(np.ones(WIDTH, np.float32)))
    return net.node("Add", scaled, net.constant(np.zeros(WIDTH, np.float32)))


def gelu(net, x):
    erf = net.node("Erf", net.node("Div", x, net.constant(np.float32(2 ** 0.5))))
    y = net.node("Mul", x, net.node("Add", erf, net.constant(np.float32(1))))
    return net.node("Mul", y, net.constant(np.float32(0.5)))


def attention(net, x, mask):
    head = WIDTH // HEADS

    def heads(value, order):
        shape = net.constant(np.array([1, TOKENS, HEADS, head], np.int64))
        return net.node("Transpose", net.node("Reshape", value, shape), perm=order)

    query, key, value = (linear(net, x, WIDTH, WIDTH) for _ in range(3))
    scores = net.node("MatMul", heads(query, [0, 2, 1, 3]), heads(key, [0, 2, 3, 1]))
    scores = net.node("Div", scores, net.constant(np.float32(head ** 0.5)))
    weights = net.node("Softmax", net.node("Add", scores, mask), axis=-1)
    y = net.node("Transpose", net.node("MatMul", weights, heads(value, [0, 2, 1, 3])), perm=[0, 2, 1, 3])
    y = net.node("Reshape", y, net.constant(np.array([1, TOKENS, WIDTH], np.int64)))
    return linear(net, y, WIDTH, WIDTH)


def bert_base(net):
    words = net.input("input_ids", [1, TOKENS], TensorProto.INT64)
    mask = net.input("attention_mask", [1, TOKENS], TensorProto.INT64)
    mask = net.node("Unsqueeze", mask, net.constant(np.array([1, 2], np.int64)))
    mask = net.node("Sub", net.constant(np.float32(1)), net.node("Cast", mask, to=TensorProto.FLOAT))
    mask = net.node("Mul", mask, net.constant(np.float32(-10000)))
    x = net.node("Gather", net.normal((WORDS, WIDTH), 1), words, axis=0)
    x = layer_norm(net, net.node("Add", x, net.normal((1, TOKENS, WIDTH), 1)))
    for _ in range(12):
        x = layer_norm(net, net.node("Add", attention(net, x, mask), x))
        y = linear(net, gelu(net, linear(net, x, WIDTH, INNER)), INNER, WIDTH)
        x = layer_norm(net, net.node("Add", y, x))
    first = net.node("Gather", x, net.constant(np.array(0, np.int64)), axis=1)
    return x, net.node("Tanh", net.gemm(first, WIDTH, WIDTH))


MODELS = {"resnet-50": resnet50, "vgg-16": vgg16, "mobilenet-v1": mobilenet_v1, "mobilenet-v2": mobilenet_v2,
          "bert-base": bert_base}


def build(name, path):
    net = Net(name)
    outputs = MODELS[name](net)
    net.save(path, *([outputs] if isinstance(outputs, str) else outputs))

#include "ir/model/onnx_tensor.h"

#include "base/core/file.h"
#include "ir/model/onnx.h"
#include "ir/model/onnx_wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_MAX_BYTES = 1 << 30 };

static deft_status check_stored(deft_context *ctx, const Onnx__TensorProto *proto, const char *name) {
    if (proto->segment)
        return deft_fail(ctx, DEFT_UNSUPPORTED, "tensor '%.64s' is stored in segments; Deft cannot read that", name);
    if (deft_dtype_bytes((deft_dtype)proto->data_type) == 0)
        return deft_fail(ctx, DEFT_UNSUPPORTED, "tensor '%.64s' has ONNX's data type %d, which Deft does not have",
                         name, (int)proto->data_type);
    return DEFT_OK;
}

static deft_status read_shape(deft_context *ctx, const Onnx__TensorProto *proto, const char *name,
                              deft_tensor *tensor) {
    if (proto->n_dims > DEFT_MAX_RANK)
        return deft_fail(ctx, DEFT_UNSUPPORTED, "tensor '%.64s' has %zu dimensions; Deft takes %d", name, proto->n_dims,
                         DEFT_MAX_RANK);
    *tensor = (deft_tensor){.dtype = (deft_dtype)proto->data_type, .rank = (int)proto->n_dims};
    for (size_t i = 0; i < proto->n_dims; i++)
        tensor->dims[i] = proto->dims[i];
    if (!deft_shape_valid(tensor->dtype, tensor->rank, tensor->dims)) {
        char text[DEFT_SHAPE_TEXT_BYTES];
        return deft_fail(ctx, DEFT_INVALID, "tensor '%.64s' has the shape %s, a size that memory cannot hold", name,
                         deft_shape_text(tensor, text, sizeof text));
    }
    return DEFT_OK;
}

static deft_status check_stored_count(deft_context *ctx, const char *name, const deft_tensor *tensor, const char *unit,
                                      size_t expected, size_t stored) {
    if (stored == expected) return DEFT_OK;
    char text[DEFT_SHAPE_TEXT_BYTES];
    return deft_fail(ctx, DEFT_INVALID, "tensor '%.64s' of shape %s and type %s needs %zu %s but stores %zu", name,
                     deft_shape_text(tensor, text, sizeof text), deft_dtype_name(tensor->dtype), expected, unit,
                     stored);
}

/* The range of a type whose elements are stored as 32-bit integers (the 16-bit floats as their bits). */
static void range_of(deft_dtype dtype, int32_t *low, int32_t *high) {
    *low = dtype == DEFT_I8 ? INT8_MIN : dtype == DEFT_I16 ? INT16_MIN : 0;
    *high = dtype == DEFT_BOOL  ? 1
            : dtype == DEFT_I8  ? INT8_MAX
            : dtype == DEFT_U8  ? UINT8_MAX
            : dtype == DEFT_I16 ? INT16_MAX
                                : UINT16_MAX;
}

/* Narrow types, an element in each 32-bit integer: little-endian, so its first bytes are the element. */
static deft_status copy_narrow(deft_context *ctx, const Onnx__TensorProto *proto, const char *name,
                               deft_tensor *tensor) {
    size_t size = deft_dtype_bytes(tensor->dtype);
    char *out = tensor->data;
    int32_t low, high;
    range_of(tensor->dtype, &low, &high);
    for (size_t i = 0; i < proto->n_int32_data; i++) {
        int32_t value = proto->int32_data[i];
        if (value < low || value > high)
            return deft_fail(ctx, DEFT_INVALID, "tensor '%.64s': element %zu is %d, outside the range of %s", name, i,
                             (int)value, deft_dtype_name(tensor->dtype));
        memcpy(out + i * size, &value, size);
    }
    return DEFT_OK;
}

static deft_status copy_u32(deft_context *ctx, const Onnx__TensorProto *proto, const char *name, deft_tensor *tensor) {
    uint32_t *out = tensor->data;
    for (size_t i = 0; i < proto->n_uint64_data; i++) {
        if (proto->uint64_data[i] > UINT32_MAX)
            return deft_fail(ctx, DEFT_INVALID, "tensor '%.64s': element %zu is outside the range of u32", name, i);
        out[i] = (uint32_t)proto->uint64_data[i];
    }
    return DEFT_OK;
}

/* The typed field that ONNX gives each data type. */
static const void *stored_elements(const Onnx__TensorProto *proto, deft_dtype dtype, size_t *count) {
    switch (dtype) {
    case DEFT_F32:
        *count = proto->n_float_data;
        return proto->float_data;
    case DEFT_F64:
        *count = proto->n_double_data;
        return proto->double_data;
    case DEFT_I64:
        *count = proto->n_int64_data;
        return proto->int64_data;
    case DEFT_U32:
    case DEFT_U64:
        *count = proto->n_uint64_data;
        return proto->uint64_data;
    default:
        *count = proto->n_int32_data;
        return proto->int32_data;
    }
}

static deft_status copy_elements(deft_context *ctx, const Onnx__TensorProto *proto, const char *name,
                                 const void *elements, deft_tensor *tensor) {
    size_t bytes = deft_tensor_bytes(tensor);
    switch (tensor->dtype) {
    case DEFT_F32:
    case DEFT_F64:
    case DEFT_I64:
    case DEFT_U64:
    case DEFT_I32:
        if (bytes) memcpy(tensor->data, elements, bytes);
        return DEFT_OK;
    case DEFT_U32:
        return copy_u32(ctx, proto, name, tensor);
    default:
        return copy_narrow(ctx, proto, name, tensor);
    }
}

static deft_status read_typed(deft_context *ctx, const Onnx__TensorProto *proto, const char *name,
                              deft_tensor *tensor) {
    size_t count;
    const void *elements = stored_elements(proto, tensor->dtype, &count);
    DEFT_TRY(check_stored_count(ctx, name, tensor, "elements", (size_t)deft_tensor_count(tensor), count));
    DEFT_TRY(deft_allocate(ctx, deft_tensor_bytes(tensor), &tensor->data));
    deft_status status = copy_elements(ctx, proto, name, elements, tensor);
    if (status != DEFT_OK) deft_release(ctx, tensor->data);
    return status;
}

static deft_status read_raw(deft_context *ctx, const Onnx__TensorProto *proto, const char *name, deft_tensor *tensor) {
    size_t bytes = proto->raw_data.len;
    DEFT_TRY(check_stored_count(ctx, name, tensor, "bytes", deft_tensor_bytes(tensor), bytes));
    if (bytes >= DEFT_WIRE_BLOCK_BYTES) {
        tensor->data = proto->raw_data.data;
        deft_retain(tensor->data);
        return DEFT_OK;
    }
    DEFT_TRY(deft_allocate(ctx, bytes, &tensor->data));
    if (bytes) memcpy(tensor->data, proto->raw_data.data, bytes);
    return DEFT_OK;
}

/* ---- in another file ---- */

static const char *external_entry(const Onnx__TensorProto *proto, const char *key) {
    for (size_t i = 0; i < proto->n_external_data; i++)
        if (proto->external_data[i]->key && strcmp(proto->external_data[i]->key, key) == 0)
            return proto->external_data[i]->value ? proto->external_data[i]->value : "";
    return NULL;
}

/* A number of bytes; `fallback` where there is none. */
static deft_status external_number(deft_context *ctx, const Onnx__TensorProto *proto, const char *name, const char *key,
                                   uint64_t fallback, uint64_t *number) {
    const char *text = external_entry(proto, key);
    char *end;
    *number = fallback;
    if (!text) return DEFT_OK;
    errno = 0;
    *number = strtoull(text, &end, 10);
    if (*text >= '0' && *text <= '9' && *end == '\0' && errno == 0) return DEFT_OK;
    return deft_fail(ctx, DEFT_INVALID, "tensor '%.64s': the %s of its data in another file is '%.32s', not a number",
                     name, key, text);
}

static deft_status read_external(deft_context *ctx, const Onnx__TensorProto *proto, const char *name,
                                 const char *folder, deft_tensor *tensor) {
    const char *location = external_entry(proto, "location");
    uint64_t offset, length, bytes = deft_tensor_bytes(tensor);
    if (!folder)
        return deft_fail(
            ctx, DEFT_UNSUPPORTED,
            "tensor '%.64s' is stored in another file; load the model from its file, or save it with its data "
            "inside",
            name);
    DEFT_TRY(external_number(ctx, proto, name, "offset", 0, &offset));
    DEFT_TRY(external_number(ctx, proto, name, "length", bytes, &length));
    DEFT_TRY(check_stored_count(ctx, name, tensor, "bytes", bytes, length));
    deft_status status = deft_file_read_within(ctx, folder, location ? location : "", offset, bytes, &tensor->data);
    return status == DEFT_OK ? DEFT_OK : deft_fail_in(ctx, status, "tensor '%.64s'", name);
}

deft_status deft_onnx_tensor_read(deft_context *ctx, const Onnx__TensorProto *proto, const char *name,
                                  const char *folder, deft_tensor *tensor) {
    DEFT_TRY(check_stored(ctx, proto, name));
    DEFT_TRY(read_shape(ctx, proto, name, tensor));
    if (proto->n_external_data || proto->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL)
        return read_external(ctx, proto, name, folder, tensor);
    return proto->has_raw_data ? read_raw(ctx, proto, name, tensor) : read_typed(ctx, proto, name, tensor);
}

void deft_onnx_tensor_write(const deft_tensor *tensor, const char *name, Onnx__TensorProto *proto) {
    onnx__tensor_proto__init(proto);
    proto->name = (char *)name;
    proto->n_dims = (size_t)tensor->rank;
    proto->dims = (int64_t *)tensor->dims;
    proto->has_data_type = 1;
    proto->data_type = (int32_t)tensor->dtype;
    proto->has_raw_data = 1;
    proto->raw_data.len = deft_tensor_bytes(tensor);
    proto->raw_data.data = tensor->data;
}

static deft_status load(deft_arena *arena, deft_stream *stream, deft_tensor *tensor) {
    const Onnx__TensorProto *proto;
    DEFT_TRY(deft_wire_unpack(arena, &onnx__tensor_proto__descriptor, stream, &proto));
    DEFT_TRY(deft_onnx_tensor_read(arena->ctx, proto, proto->name ? proto->name : "", NULL, tensor));
    return deft_arena_adopt(arena, tensor->data);
}

deft_status deft_onnx_tensor_load(deft_arena *arena, const char *path, deft_tensor *tensor) {
    deft_stream stream;
    DEFT_TRY(deft_file_open(arena->ctx, path, FILE_MAX_BYTES, &stream));
    deft_status status = load(arena, &stream, tensor);
    deft_stream_done(&stream);
    return status == DEFT_OK ? DEFT_OK : deft_fail_in(arena->ctx, status, "%s", path);
}

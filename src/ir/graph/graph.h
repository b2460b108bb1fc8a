/* The graph: values, and nodes that make values from values. Kept in topological order once verified. */
#ifndef DEFT_IR_GRAPH_GRAPH_H
#define DEFT_IR_GRAPH_GRAPH_H

#include "base/core/arena.h"
#include "ir/op/op.h"

#include <stdio.h>

#define DEFT_NO_VALUE (-1)

typedef struct deft_value {
    const char *name; /* unique in the graph, never empty */
    deft_tensor desc; /* dims of -1 are symbolic and not bound yet (inputs only); data (owned by the graph) is set for
                         constants and for what inference evaluated, else NULL */
    const char *dim_names[DEFT_MAX_RANK]; /* not NULL where a dim of an input or output is symbolic, bound or not: its
                                             name, or "" */
    bool known;                           /* dtype and dims have been declared or inferred, and no dim is -1; of an
                                             output, or input of control flow, that is not, desc is as declared, its
                                             dtype 0 where nothing is */
    bool input;                           /* of the graph */
    bool variable;                        /* a constant that training changes: kernels may not bake it in */
    int producer;                         /* node index, or -1 for inputs and constants */
} deft_value;

typedef struct deft_node {
    const char *name; /* may be empty */
    deft_op op;
    deft_attrs attrs;
    int in_count, out_count;
    int *in, *out; /* value ids; DEFT_NO_VALUE where an optional one is absent */
} deft_node;

typedef struct deft_metadata {
    const char *key, *value;
} deft_metadata;

typedef struct deft_graph {
    deft_context *ctx;
    deft_arena arena; /* names, attributes, node arrays */
    const char *name;
    int opset;
    deft_value *values;
    int value_count;
    deft_node *nodes;
    int node_count;
    int *inputs; /* value ids, without constants */
    int input_count;
    int *outputs;
    int output_count;
    deft_metadata *metadata;
    int metadata_count;
    int *slots; /* value ids + 1 by name: a hash table with open addressing; its size is a power of two */
    int slot_count;
    int fresh_count;            /* names made for values that had none */
    struct deft_graph **bodies; /* of control flow: what attributes of nodes point to */
    int body_count;
    int64_t replaced; /* nodes moved so far while control flow was replaced: its work, which is bounded */
} deft_graph;

/* Adding to a graph moves its arrays: take pointers to values and nodes anew afterwards. */
DEFT_MUST_CHECK deft_status deft_graph_new(deft_context *ctx, deft_graph **graph);
void deft_graph_free(deft_graph *graph);
/* A deep copy, constants included. */
DEFT_MUST_CHECK deft_status deft_graph_clone(deft_context *ctx, const deft_graph *graph, deft_graph **copy);

/* A copy in the same context whose constants are those of the graph, but for variables: nobody may change them in place
 * while both live. */
DEFT_MUST_CHECK deft_status deft_graph_clone_sharing(const deft_graph *graph, deft_graph **copy);

/* -1 where there is none of that name. */
int deft_graph_find(const deft_graph *graph, const char *name);
/* Adds a value; an empty or NULL name gets a fresh one. Error: DEFT_INVALID where the name is taken. */
DEFT_MUST_CHECK deft_status deft_graph_add_value(deft_graph *graph, const char *name, int *value);
/* Adds a constant and copies its data. */
DEFT_MUST_CHECK deft_status deft_graph_add_constant(deft_graph *graph, const char *name, const deft_tensor *tensor,
                                                    int *value);
/* Makes a value a constant, replacing what constant it was: with the data, which deft_allocate made and which is taken
 * over, also where it fails; or with a copy of it. */
DEFT_MUST_CHECK deft_status deft_graph_take_constant(deft_graph *graph, int value, const deft_tensor *tensor);
DEFT_MUST_CHECK deft_status deft_graph_set_constant(deft_graph *graph, int value, const deft_tensor *tensor);
/* dims of -1 are symbolic, named by dim_names (may be NULL, or hold NULLs). */
DEFT_MUST_CHECK deft_status deft_graph_add_input(deft_graph *graph, const char *name, deft_dtype dtype, int rank,
                                                 const int64_t *dims, const char *const *dim_names, int *value);
/* Makes a value that nothing makes so far an input, of which nothing is known: in a graph of control flow. */
DEFT_MUST_CHECK deft_status deft_graph_declare_input(deft_graph *graph, int value);
DEFT_MUST_CHECK deft_status deft_graph_add_output(deft_graph *graph, int value);
/* Copies the attributes, deep. `in` and `out` are value ids. */
DEFT_MUST_CHECK deft_status deft_graph_add_node(deft_graph *graph, deft_op op, const char *name, const deft_attr *attrs,
                                                int attr_count, const int *in, int in_count, const int *out,
                                                int out_count, int *node);
/* Sets or replaces a metadata entry; deft_graph_metadata is NULL where there is none. */
DEFT_MUST_CHECK deft_status deft_graph_set_metadata(deft_graph *graph, const char *key, const char *value);
const char *deft_graph_metadata(const deft_graph *graph, const char *key);

/* Checks arity, single producers, that every value used is made, and that there is no cycle; sorts the nodes
 * topologically (stable). Errors: DEFT_INVALID, naming the node or value. */
DEFT_MUST_CHECK deft_status deft_graph_verify(deft_graph *graph);

/* Sets every value's producer: after nodes have moved. The first node that makes a value counts. */
void deft_graph_set_producers(deft_graph *graph);
/* Removes the nodes where keep[node] is false, then every value that is no input or output and that no node is left to
 * make or use. Node indices and value ids change. */
void deft_graph_keep(deft_graph *graph, const bool *keep);

/* Binds every symbolic dimension of the inputs and infers all other shapes; evaluates nodes whose inputs are all
 * constant integers (shape arithmetic) ahead of time. Afterwards every value is known and without -1, there is no
 * control flow left (a graph that had some is only for these shapes), and what Deft has not for 16-bit floats is in
 * f32. `bindings` give shapes by input name; a symbolic dimension of another input becomes what the same name was bound
 * to, else `batch`. May be called again with others. Errors: DEFT_INVALID (shapes do not fit), DEFT_UNSUPPORTED. */
DEFT_MUST_CHECK deft_status deft_graph_infer(deft_graph *graph, int64_t batch, const deft_binding *bindings,
                                             int binding_count);
/* The same for a graph whose shapes may depend on values that only a run computes: stops there, *waits being the value,
 * else DEFT_NO_VALUE. What is before it in the order of the nodes is known then. */
DEFT_MUST_CHECK deft_status deft_graph_infer_until(deft_graph *graph, int64_t batch, const deft_binding *bindings,
                                                   int binding_count, int *waits);
/* Infers with symbolic dimensions at 1 and replaces no node: *complete is false where that, or a value, would be needed
 * to go on. */
DEFT_MUST_CHECK deft_status deft_graph_infer_unchanged(deft_graph *graph, bool *complete);
/* Takes out of an inferred graph what computes `value`: `*head` makes first that value, then all that the rest needs of
 * what it has; these are the inputs of `graph` afterwards, in the same order. In `graph` the value, whose id is then
 * `*rest_value`, is for the caller to set (deft_graph_set_constant). Where it fails, `graph` is unchanged. */
DEFT_MUST_CHECK deft_status deft_graph_split(deft_graph *graph, int value, deft_graph **head, int *rest_value);

/* Takes a graph over that attributes of nodes of `graph` will hold. */
DEFT_MUST_CHECK deft_status deft_graph_adopt_body(deft_graph *graph, deft_graph *body);
/* If, Loop and Scan hold graphs as attributes. Such a graph's first inputs are given by the operator; the rest are the
 * values around the node that it uses, which the node lists after its own inputs, graph by graph. */
bool deft_node_is_control(const deft_node *node);
/* Replaces a control-flow node by the nodes of its graph: an If by the branch taken, a Loop by its next iteration and
 * the rest of the Loop, a Scan by all its iterations. Needs the inputs' shapes. Where the value of a condition is not
 * known, does nothing and sets *waits to it, else to DEFT_NO_VALUE. Producers are to be set anew afterwards. Errors:
 * DEFT_INVALID, DEFT_UNSUPPORTED (more iterations than make sense to unroll). */
DEFT_MUST_CHECK deft_status deft_graph_replace_control(deft_graph *graph, int node, int *waits);

bool deft_node_has_half_inputs(const deft_graph *graph, const deft_node *node);
/* Replaces a node that has 16-bit floats as inputs by casts to f32, the node in f32, and casts back of what it makes in
 * f32. Producers are to be set anew afterwards. Errors: those of the node's shape rule in f32. */
DEFT_MUST_CHECK deft_status deft_graph_widen_node(deft_graph *graph, int node);
/* Forgets what inference found: only what is declared is known then. */
void deft_graph_forget_shapes(deft_graph *graph);
/* Infers the outputs of one node whose inputs are known. */
DEFT_MUST_CHECK deft_status deft_graph_infer_node(deft_graph *graph, int node);
/* Runs the reference forward of one node whose shapes are known and inputs have data; the outputs then have data too.
 */
DEFT_MUST_CHECK deft_status deft_graph_evaluate_node(deft_graph *graph, int node);

/* "Conv 'conv1'", or "Conv making 'y'" where the node has no name: for messages. Returns `out`. */
const char *deft_node_label(const deft_graph *graph, const deft_node *node, char *out, size_t bytes);
#define DEFT_NODE_LABEL_BYTES 128

/* The graph as text, a line a node. */
void deft_graph_dump(const deft_graph *graph, FILE *file);

/* Counts of a graph whose shapes are known. */
typedef struct deft_graph_stats {
    int64_t parameters; /* elements of all float constants, those in graphs of control flow too */
    int64_t prunable;   /* of these, in weights of Gemm, MatMul and Conv */
    int64_t prunable_zeros;
    int64_t macs;         /* multiply-accumulates of Gemm, MatMul and Conv, dense */
    int64_t macs_nonzero; /* without those by a zero weight */
} deft_graph_stats;
deft_graph_stats deft_graph_count(const deft_graph *graph);
/* The weight of a Gemm, MatMul or Conv node: the value id of its constant right-hand operand, or DEFT_NO_VALUE. */
int deft_node_weight(const deft_graph *graph, const deft_node *node);
/* Dense multiply-accumulates of a node; 0 for all but Gemm, MatMul and Conv. */
int64_t deft_node_macs(const deft_graph *graph, const deft_node *node);
/* At most about so many elementary operations does the reference forward of a node take, whose shapes are known: what
 * is computed ahead of time has a budget of these, since a small file can ask for any number. */
int64_t deft_node_work(const deft_graph *graph, const deft_node *node);

#endif

/* The memory plan: values that do not live at the same time may lie in the same place. The largest is placed first,
 * each at the lowest offset where it fits (greedy by size: Pisarchyk and Lee, "Efficient memory management for deep
 * neural net inference", 2020). */
#include "exec/plan/planner.h"

#include <stdlib.h>
#include <string.h>

enum {
    ALIGNMENT = 64,
    MAX_REUSED = 8192 /* placing takes time in the square of this; the values past it, the smallest, share no memory */
};

/* Memory of one value, of its views, and of what is written over it, from the step that makes it to the last that reads
 * it. */
typedef struct block {
    int value;
    int first, last;
    int64_t bytes, offset;
} block;

static int64_t aligned_bytes(size_t bytes) {
    int64_t aligned = ((int64_t)bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return aligned ? aligned : ALIGNMENT;
}

static int home_of(const deft_planner *p, int value) {
    while (p->home[value] != value)
        value = p->home[value];
    return value;
}

static void extend(const deft_planner *p, block *blocks, const int *values, int count, int step) {
    for (int i = 0; i < count; i++) {
        if (values[i] == DEFT_NO_VALUE || deft_planner_is_constant(p, values[i])) continue;
        block *b = &blocks[home_of(p, values[i])];
        if (b->first < 0 || step < b->first) b->first = step;
        if (step > b->last) b->last = step;
    }
}

/* Lifetimes by value id; first < 0: it is never in memory. */
static void find_lifetimes(const deft_planner *p, block *blocks) {
    const deft_plan *plan = p->plan;
    for (int i = 0; i < p->graph->value_count; i++)
        blocks[i] = (block){.value = i, .first = -1, .last = -1};
    for (int i = 0; i < plan->step_count; i++) {
        extend(p, blocks, plan->steps[i].in, plan->steps[i].in_count, i);
        extend(p, blocks, plan->steps[i].out, plan->steps[i].out_count, i);
    }
    for (int i = 0; i < p->graph->value_count; i++) {
        if (!p->pinned[i] || p->home[i] != i || deft_planner_is_constant(p, i)) continue;
        blocks[i].first = 0;
        blocks[i].last = plan->step_count;
    }
}

/* ---- in place ---- */

/* Whether what the step makes may be written over its input `j`, which nothing reads afterwards. Another input may be a
 * view of it: as large, and so, broadcast to the same shape, read where it is written. */
static bool may_overwrite(const deft_planner *p, const block *blocks, int index, int j) {
    const deft_step *step = &p->plan->steps[index];
    const deft_placement *placements = p->plan->placements;
    int x = step->in[j], y = step->out[0];
    if (x == DEFT_NO_VALUE || deft_planner_is_constant(p, x)) return false;
    const deft_tensor *from = &p->graph->values[x].desc, *to = &p->graph->values[y].desc;
    return blocks[home_of(p, x)].last == index && from->dtype == to->dtype && deft_shape_equal(from, to) &&
           placements[x].layout == placements[y].layout;
}

/* The result takes the memory of an input that it is as large as, and with it its lifetime. */
static void write_in_place(deft_planner *p, block *blocks) {
    for (int i = 0; i < p->plan->step_count; i++) {
        const deft_step *step = &p->plan->steps[i];
        uint32_t in_place = deft_kernels[step->choice.kernel].in_place;
        for (int j = 0; j < step->in_count && in_place >> j; j++) {
            if (!(in_place >> j & 1) || !may_overwrite(p, blocks, i, j)) continue;
            block *taken = &blocks[step->out[0]], *by = &blocks[home_of(p, step->in[j])];
            by->last = taken->last;
            taken->first = -1;
            p->home[step->out[0]] = by->value;
            break;
        }
    }
}

/* ---- places ---- */

static size_t value_bytes(const deft_planner *p, int value) {
    const deft_tensor *desc = &p->graph->values[value].desc;
    return deft_layout_bytes(desc, p->plan->placements[value].layout, p->ctx->isa);
}

static int compare_by_size(const void *a, const void *b) {
    const block *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
    return (x->value > y->value) - (x->value < y->value);
}

/* The first place where it overlaps none that lives at the same time. `placed` is sorted by offset, and stays so. */
static void place_block(block *placed, int count, block *next) {
    int at = 0;
    next->offset = 0;
    for (int i = 0; i < count; i++) {
        if (placed[i].last < next->first || next->last < placed[i].first) continue;
        if (placed[i].offset >= next->offset + next->bytes) break;
        int64_t end = placed[i].offset + placed[i].bytes;
        if (end > next->offset) next->offset = end;
    }
    while (at < count && placed[at].offset <= next->offset)
        at++;
    memmove(placed + at + 1, placed + at, sizeof *placed * (size_t)(count - at));
    placed[at] = *next;
}

static int keep_live(const deft_planner *p, block *blocks) {
    int count = 0;
    for (int i = 0; i < p->graph->value_count; i++) {
        if (blocks[i].first < 0) continue;
        blocks[i].bytes = aligned_bytes(value_bytes(p, i));
        blocks[count++] = blocks[i];
    }
    return count;
}

deft_status deft_planner_place(deft_planner *p) {
    deft_plan *plan = p->plan;
    int64_t total = 0;
    block *blocks, *placed;
    DEFT_TRY(deft_arena_array(&p->scratch, (size_t)p->graph->value_count, sizeof *blocks, &blocks));
    DEFT_TRY(deft_arena_array(&p->scratch, (size_t)p->graph->value_count, sizeof *placed, &placed));
    find_lifetimes(p, blocks);
    write_in_place(p, blocks);
    int count = keep_live(p, blocks);
    qsort(blocks, (size_t)count, sizeof *blocks, compare_by_size);
    for (int i = 0; i < count; i++) {
        if (i < MAX_REUSED)
            place_block(placed, i, &blocks[i]);
        else
            blocks[i].offset = total;
        deft_placement *placement = &plan->placements[blocks[i].value];
        placement->offset = blocks[i].offset;
        placement->bytes = (size_t)blocks[i].bytes;
        if (blocks[i].offset + blocks[i].bytes > total) total = blocks[i].offset + blocks[i].bytes;
    }
    for (int i = 0; i < p->graph->value_count; i++)
        if (p->home[i] != i) plan->placements[i] = plan->placements[home_of(p, i)];
    plan->memory_bytes = (size_t)total;
    return DEFT_OK;
}

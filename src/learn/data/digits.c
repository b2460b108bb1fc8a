/* How a picture is made: a digit is written in one of three hands, each a few pen strokes through marks on a 100 x 100
 * grid (the table below). Every mark is jittered, the strokes are smooth curves through them (Catmull-Rom), bent by a
 * smooth field of displacements (the elastic part: a cubic B-spline), then scaled, sheared, rotated and moved; the
 * pen's radius gives each pixel its coverage by its distance to the strokes; blur, contrast and noise come last.
 *
 * Bit-identical on every machine with IEEE 754 single precision: only + - * / and sqrt are used, in a fixed order and
 * without contraction (-ffp-contract=off); no sine or logarithm, whose last bits differ between C libraries. */
#include "learn/data/digits.h"

#include "base/core/rng.h"

#include <math.h>
#include <string.h>

enum { SIZE = DEFT_DIGITS_SIZE, HANDS = 3, MARKS_MAX = 20, SPAN_STEPS = 5, GRID = 5 };

/* x to the right, y down, 0 to 100 of the digit's box. A mark given twice makes a corner. */
typedef struct mark {
    signed char x, y;
} mark;
/* In place of x: the pen goes up, the next mark begins a stroke; the digit is complete. */
enum { LIFT = -1, END = -2 };

/* clang-format off */
static const mark glyphs[10][HANDS][MARKS_MAX] = {
    { /* 0 */
        {{52, 2}, {22, 12}, {4, 50}, {22, 88}, {50, 98}, {78, 88}, {96, 50}, {80, 12}, {52, 2}, {END, 0}},
        {{66, 6}, {36, 4}, {12, 34}, {10, 70}, {34, 97}, {70, 92}, {90, 56}, {84, 20}, {54, 2}, {30, 10},
         {END, 0}},
        {{50, 0}, {30, 8}, {20, 50}, {30, 92}, {50, 100}, {70, 92}, {80, 50}, {70, 8}, {46, 1}, {END, 0}},
    },
    { /* 1 */
        {{52, 0}, {50, 50}, {48, 100}, {END, 0}},
        {{26, 24}, {42, 14}, {56, 0}, {56, 0}, {55, 50}, {54, 100}, {END, 0}},
        {{30, 22}, {52, 2}, {52, 2}, {52, 50}, {52, 98}, {LIFT, 0}, {26, 99}, {52, 98}, {78, 98}, {END, 0}},
    },
    { /* 2 */
        {{10, 24}, {24, 5}, {56, 0}, {84, 16}, {80, 42}, {46, 72}, {8, 98}, {8, 98}, {50, 97}, {92, 97}, {END, 0}},
        {{14, 18}, {40, 2}, {74, 8}, {80, 34}, {58, 66}, {24, 92}, {10, 90}, {18, 78}, {42, 84}, {66, 98},
         {94, 92}, {END, 0}},
        {{12, 12}, {40, 2}, {72, 10}, {72, 38}, {40, 68}, {12, 96}, {12, 96}, {84, 100}, {END, 0}},
    },
    { /* 3 */
        {{14, 12}, {44, 0}, {78, 10}, {76, 36}, {42, 47}, {42, 47}, {80, 56}, {86, 82}, {50, 100}, {10, 88},
         {END, 0}},
        {{14, 4}, {48, 3}, {82, 3}, {82, 3}, {62, 22}, {44, 42}, {44, 42}, {80, 54}, {82, 84}, {46, 100},
         {12, 90}, {END, 0}},
        {{20, 18}, {46, 2}, {74, 18}, {66, 40}, {38, 48}, {70, 56}, {78, 78}, {52, 98}, {18, 84}, {END, 0}},
    },
    { /* 4 */
        {{30, 2}, {18, 32}, {8, 58}, {8, 58}, {50, 57}, {94, 54}, {LIFT, 0}, {72, 4}, {68, 50}, {64, 100},
         {END, 0}},
        {{68, 0}, {38, 32}, {6, 68}, {6, 68}, {50, 68}, {96, 66}, {LIFT, 0}, {70, 0}, {68, 50}, {68, 100},
         {END, 0}},
        {{20, 4}, {16, 34}, {28, 52}, {56, 50}, {80, 40}, {LIFT, 0}, {84, 2}, {80, 44}, {72, 100}, {END, 0}},
    },
    { /* 5 */
        {{84, 3}, {50, 4}, {22, 6}, {22, 6}, {18, 42}, {18, 42}, {52, 36}, {86, 56}, {80, 86}, {44, 100},
         {10, 90}, {END, 0}},
        {{24, 4}, {20, 44}, {20, 44}, {56, 40}, {84, 64}, {66, 94}, {30, 98}, {10, 86}, {LIFT, 0}, {24, 5},
         {54, 4}, {88, 2}, {END, 0}},
        {{80, 4}, {36, 6}, {36, 6}, {22, 40}, {50, 46}, {74, 64}, {66, 90}, {36, 100}, {8, 92}, {END, 0}},
    },
    { /* 6 */
        {{70, 2}, {36, 20}, {12, 60}, {24, 92}, {56, 99}, {84, 80}, {74, 54}, {42, 52}, {16, 70}, {END, 0}},
        {{52, 0}, {30, 34}, {18, 70}, {34, 97}, {66, 95}, {80, 74}, {62, 56}, {34, 62}, {20, 76}, {END, 0}},
        {{84, 12}, {56, 2}, {24, 24}, {10, 62}, {28, 96}, {66, 96}, {86, 72}, {62, 50}, {26, 60}, {14, 76},
         {END, 0}},
    },
    { /* 7 */
        {{8, 6}, {50, 5}, {90, 4}, {90, 4}, {62, 50}, {40, 100}, {END, 0}},
        {{10, 22}, {12, 6}, {12, 6}, {50, 6}, {86, 4}, {86, 4}, {66, 44}, {52, 100}, {END, 0}},
        {{10, 4}, {50, 5}, {88, 2}, {88, 2}, {62, 48}, {36, 100}, {LIFT, 0}, {30, 52}, {58, 50}, {84, 48},
         {END, 0}},
    },
    { /* 8 */
        {{72, 12}, {46, 0}, {20, 16}, {34, 40}, {70, 58}, {82, 82}, {50, 100}, {18, 84}, {30, 58}, {66, 38},
         {76, 16}, {END, 0}},
        {{50, 47}, {24, 32}, {28, 8}, {54, 0}, {78, 12}, {76, 34}, {50, 47}, {20, 64}, {20, 90}, {50, 100},
         {82, 88}, {80, 62}, {50, 47}, {END, 0}},
        {{80, 8}, {44, 2}, {24, 22}, {50, 44}, {78, 66}, {70, 94}, {36, 98}, {22, 76}, {48, 50}, {82, 10},
         {END, 0}},
    },
    { /* 9 */
        {{80, 26}, {54, 2}, {22, 12}, {18, 38}, {46, 50}, {74, 38}, {82, 14}, {78, 56}, {66, 100}, {END, 0}},
        {{78, 18}, {50, 0}, {22, 20}, {30, 46}, {60, 46}, {80, 20}, {80, 20}, {79, 60}, {78, 100}, {END, 0}},
        {{76, 14}, {44, 2}, {16, 26}, {34, 50}, {66, 42}, {80, 16}, {84, 56}, {68, 92}, {30, 98}, {14, 86},
         {END, 0}},
    },
};
/* clang-format on */

typedef struct point {
    float x, y;
} point;

/* How one picture is written. */
typedef struct style {
    point bend[GRID][GRID]; /* control points of the elastic field, in digit boxes */
    float xx, xy, yx, yy;   /* digit box to pixels */
    point centre;           /* of the box, in pixels */
    float radius;           /* of the pen, in pixels */
    float blur;             /* weight of each neighbour, along x and along y */
    float ink, noise;       /* the brightness of full coverage; the deviation of the noise */
} style;

static float between(deft_rng *rng, float low, float high) {
    return low + (high - low) * deft_rng_uniform(rng);
}

static style style_draw(deft_rng *rng) {
    style s;
    for (int i = 0; i < GRID; i++)
        for (int j = 0; j < GRID; j++) {
            s.bend[i][j].x = between(rng, -0.14f, 0.14f);
            s.bend[i][j].y = between(rng, -0.14f, 0.14f);
        }
    float width = between(rng, 11.0f, 17.0f), height = between(rng, 16.0f, 21.0f), slant = between(rng, -0.25f, 0.25f);
    /* An angle of -20 to 20 degrees, by the tangent of its half. */
    float t = between(rng, -0.176f, 0.176f);
    float cosine = (1.0f - t * t) / (1.0f + t * t), sine = 2.0f * t / (1.0f + t * t);
    s.xx = cosine * width;
    s.yx = sine * width;
    s.xy = (cosine * slant - sine) * height;
    s.yy = (sine * slant + cosine) * height;
    s.centre.x = between(rng, -2.0f, 2.0f) + 0.5f * SIZE;
    s.centre.y = between(rng, -2.0f, 2.0f) + 0.5f * SIZE;
    s.radius = between(rng, 0.6f, 1.7f);
    s.blur = between(rng, 0.0f, 0.25f);
    s.ink = between(rng, 0.6f, 1.0f);
    s.noise = between(rng, 0.0f, 0.12f);
    return s;
}

/* Uniform cubic B-spline: the weights of the four control points around t in 0..1. */
static void spline_weights(float t, float w[4]) {
    float u = 1.0f - t;
    w[0] = u * u * u / 6.0f;
    w[1] = (3.0f * t * t * t - 6.0f * t * t + 4.0f) / 6.0f;
    w[2] = (3.0f * u * u * u - 6.0f * u * u + 4.0f) / 6.0f;
    w[3] = t * t * t / 6.0f;
}

/* From the digit's box, -0.5 to 0.5, to pixels. */
static point place(const style *s, point p) {
    const int cells = GRID - 3;
    float wx[4], wy[4], gx = (p.x + 0.5f) * cells, gy = (p.y + 0.5f) * cells;
    int cx = gx < 1.0f ? 0 : gx < cells - 1.0f ? (int)gx : cells - 1;
    int cy = gy < 1.0f ? 0 : gy < cells - 1.0f ? (int)gy : cells - 1;
    spline_weights(gx - (float)cx, wx);
    spline_weights(gy - (float)cy, wy);
    point q = p;
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) {
            q.x += wy[i] * wx[j] * s->bend[cy + i][cx + j].x;
            q.y += wy[i] * wx[j] * s->bend[cy + i][cx + j].y;
        }
    return (point){s->centre.x + s->xx * q.x + s->xy * q.y, s->centre.y + s->yx * q.x + s->yy * q.y};
}

/* Uniform Catmull-Rom: the curve from b to c at t in 0..1, for neighbours a and d. */
static float catmull_rom(float a, float b, float c, float d, float t) {
    return b + 0.5f * t * (c - a + t * (2.0f * a - 5.0f * b + 4.0f * c - d + t * (3.0f * (b - c) + d - a)));
}

/* Lowers distance2, each pixel's squared distance to the strokes, near the line from a to b. */
static void draw_line(point a, point b, float reach, float distance2[SIZE][SIZE]) {
    float dx = b.x - a.x, dy = b.y - a.y, length2 = dx * dx + dy * dy;
    float scale = length2 > 0.0f ? 1.0f / length2 : 0.0f;
    int left = (int)fmaxf(fminf(a.x, b.x) - reach, 0.0f), top = (int)fmaxf(fminf(a.y, b.y) - reach, 0.0f);
    int right = (int)fminf(fmaxf(a.x, b.x) + reach, SIZE - 1.0f),
        bottom = (int)fminf(fmaxf(a.y, b.y) + reach, SIZE - 1.0f);
    for (int y = top; y <= bottom; y++)
        for (int x = left; x <= right; x++) {
            float px = (float)x + 0.5f - a.x, py = (float)y + 0.5f - a.y;
            float t = fminf(fmaxf((px * dx + py * dy) * scale, 0.0f), 1.0f);
            float ex = px - t * dx, ey = py - t * dy;
            distance2[y][x] = fminf(distance2[y][x], ex * ex + ey * ey);
        }
}

/* A stroke through `count` marks. */
static void draw_stroke(const style *s, const point *marks, int count, float distance2[SIZE][SIZE]) {
    float reach = s->radius + 1.0f;
    point last = place(s, marks[0]);
    for (int i = 0; i + 1 < count; i++) {
        point a = marks[i ? i - 1 : 0], b = marks[i], c = marks[i + 1], d = marks[i + 2 < count ? i + 2 : i + 1];
        if (b.x == c.x && b.y == c.y) continue;
        for (int step = 1; step <= SPAN_STEPS; step++) {
            float t = (float)step / SPAN_STEPS;
            point next = place(s, (point){catmull_rom(a.x, b.x, c.x, d.x, t), catmull_rom(a.y, b.y, c.y, d.y, t)});
            draw_line(last, next, reach, distance2);
            last = next;
        }
    }
}

static void draw_glyph(deft_rng *rng, const style *s, const mark *marks, float distance2[SIZE][SIZE]) {
    const float jitter = 0.035f;
    point stroke[MARKS_MAX];
    int count = 0;
    for (int i = 0;; i++) {
        if (marks[i].x < 0) {
            draw_stroke(s, stroke, count, distance2);
            count = 0;
            if (marks[i].x == END) return;
            continue;
        }
        bool corner = count && marks[i].x == marks[i - 1].x && marks[i].y == marks[i - 1].y;
        /* Apart, since the order within one expression would be the compiler's. */
        float x = (float)marks[i].x / 100.0f - 0.5f + between(rng, -jitter, jitter);
        float y = (float)marks[i].y / 100.0f - 0.5f + between(rng, -jitter, jitter);
        stroke[count] = corner ? stroke[count - 1] : (point){x, y};
        count++;
    }
}

/* Blurs along one direction; `stride` apart are neighbours, `across` the lines. Outside is dark. */
static void blur_lines(float *pixels, float weight, int stride, int across) {
    for (int line = 0; line < SIZE; line++) {
        float before = 0.0f, *p = pixels + line * across;
        for (int i = 0; i < SIZE; i++, p += stride) {
            float here = *p, after = i + 1 < SIZE ? p[stride] : 0.0f;
            *p = here + weight * (before + after - 2.0f * here);
            before = here;
        }
    }
}

/* Nearly normal, deviation 1: the sum of four uniform numbers (16 bits each), of variance 1/12 each. */
static float noise_draw(deft_rng *rng) {
    uint64_t bits = deft_rng_u64(rng);
    int sum = (int)(bits & 0xffff) + (int)(bits >> 16 & 0xffff) + (int)(bits >> 32 & 0xffff) + (int)(bits >> 48);
    return ((float)sum * 0x1p-16f - 2.0f) * 1.7320508f;
}

void deft_digits_draw(uint64_t seed, uint64_t index, float *pixels, int32_t *label) {
    deft_rng rng;
    deft_rng_init(&rng, seed, index);
    *label = (int32_t)deft_rng_below(&rng, 10);
    const mark *marks = glyphs[*label][deft_rng_below(&rng, HANDS)];
    style s = style_draw(&rng);

    float distance2[SIZE][SIZE];
    for (int i = 0; i < SIZE * SIZE; i++)
        distance2[i / SIZE][i % SIZE] = (float)(SIZE * SIZE);
    draw_glyph(&rng, &s, marks, distance2);
    for (int i = 0; i < SIZE * SIZE; i++)
        pixels[i] = fminf(fmaxf(s.radius + 0.5f - sqrtf(distance2[i / SIZE][i % SIZE]), 0.0f), 1.0f);
    blur_lines(pixels, s.blur, 1, SIZE);
    blur_lines(pixels, s.blur, SIZE, 1);
    for (int i = 0; i < SIZE * SIZE; i++)
        pixels[i] = fminf(fmaxf(s.ink * pixels[i] + s.noise * noise_draw(&rng), 0.0f), 1.0f);
}

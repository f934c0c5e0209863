/*
 * Plan: what a run will do, worked out before anything is computed. A cell is one task under
 * one selector and one way of decoding; its work is items times samples.
 *
 * Cells are all combinations of the tasks, the selectors and the values of options that take lists
 * (caches, lengths, steps, thresholds, temperatures). They share their tasks' prompts, which are
 * rendered and tokenized once. More than that they cannot share and stay what each of them is
 * alone: in a bidirectional model keys and values of the prompt depend on the canvas behind it (its
 * length, and what was committed when the cache was filled) and, in all layers but the first, on
 * the experts that the selector let run.
 */
#ifndef HARNESS_PLAN_H
#define HARNESS_PLAN_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"
#include "engine/engine.h"
#include "harness/options.h"
#include "tasks/task.h"

/* The prompt of an item, as text for the tokenizer (chat template applied) and as ids. */
struct plan_input {
    const char *text;
    size_t len;
    const int32_t *ids; /* (n_ids) */
    size_t n_ids;
    char sha256[65]; /* of text */
};

/* A task as asked for: its open data and the items chosen. */
struct plan_task {
    const struct task_def *def;
    struct task *task;
    const char *form; /* prompt form, the default one filled in */
    size_t *items;    /* (n_items) indices into the task */
    size_t n_items;
    struct plan_input *inputs; /* (n_items) plan_decode() fills */
};

struct plan_cell {
    const struct plan_task *task;
    struct decode_options decode; /* all but seed, which is a sample's */
};

struct plan {
    struct arena arena;
    struct plan_task *tasks;
    size_t n_tasks;
    struct plan_cell *cells; /* task by task, of these by decoding, then selectors as given */
    size_t n_cells;
    int n_samples;      /* answers an item */
    size_t n_work;      /* samples over all cells */
    size_t max_prompt;  /* tokens of the longest prompt, template included; plan_decode() fills */
    int max_canvas;     /* positions of the longest prompt and answer together; likewise */
    int max_block;      /* largest block_length of a cell */
    double n_positions; /* positions to denoise over all samples: what progress goes by */
};

/* Open the tasks that the options name and choose the items: those of --samples, of these the
 * first --limit. deflt: tasks when --tasks is not given. Tasks left without items are dropped.
 * ST_INVALID names the unknown task or id. plan_release() frees also after a failure. */
MUST_CHECK enum status plan_tasks(const struct options *c, const char *deflt, struct plan *p,
                                  struct error *err);

/* Resolve decoding for every cell against an engine (text only is enough) and tokenize prompts.
 * With --cells only that share of the cells is left, which may be none. ST_INVALID names the task,
 * and the item whose prompt leaves no room for an answer. */
MUST_CHECK enum status plan_decode(const struct options *c, const struct engine *e, struct plan *p,
                                   struct error *err);

void plan_release(struct plan *p);

/* Leave out the cells (n_cells) that are marked. */
void plan_drop_cells(struct plan *p, const bool *is_dropped);

/* Lay what the options say of decoding over ret, but for the selector, the lengths of the whole
 * answer and its steps. Borrows their strings. */
void plan_lay_decode(const struct options *c, struct decode_options *ret);

/* ST_INVALID names an option that is given but that d's decoder or cache never reads. */
MUST_CHECK enum status plan_check_read(const struct options *c, const struct decode_options *d,
                                       struct error *err);

/* The prompt of an item as text for the tokenizer (chat template applied): in the arena. */
MUST_CHECK enum status plan_prompt(const struct engine *e, const struct plan_task *t, size_t item,
                                   struct arena *a, const char **ret, size_t *ret_len,
                                   struct error *err);

#endif

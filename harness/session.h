/*
 * Session: everything that carrying out a run holds open, from its plan to its table. Shared by
 * `run`, which begins one, and `resume`, which goes on with one.
 *
 *   session_plan -> session_open -> (row of the run: record.h) -> session_execute -> session_close
 */
#ifndef HARNESS_SESSION_H
#define HARNESS_SESSION_H

#include <signal.h>
#include <stdbool.h>

#include "base/arena.h"
#include "harness/judging.h"
#include "harness/plan.h"
#include "harness/run_lock.h"
#include "harness/run_print.h"
#include "harness/verb.h"

/* A cell of the whole plan, whoever carries it out. */
struct session_cell {
    struct plan_cell cell;
    char key[65];
    const char *run_id; /* that holds samples of it; NULL: none does yet */
    bool is_stored;     /* all of them, in a finished run: this one leaves it out */
};

/* Zeroed but for c; released by session_close() whatever has been reached. In a series of sessions
 * (`sweep`) model and results file are shared: engine is set before session_plan(), and it and
 * store before session_begin(), which takes the place of session_open(). */
struct session {
    const struct options *c; /* of verb `run` */
    struct arena arena;
    struct plan plan;
    struct engine *engine; /* text only after session_plan(), whole after session_open() */
    struct judge *judge;   /* NULL: no task of the plan has code */
    struct store *store;
    struct run_lock *lock;
    struct engine_options engine_options;
    struct engine_memory memory;
    bool has_memory; /* known: there are weights */
    const char *results_path, *run_id;
    bool is_resumed;
    struct session_cell *cells; /* (n_cells) stored_skip() fills; NULL without it */
    size_t n_cells;
    bool is_shared; /* engine and store belong to another: session_close() leaves them */
    struct runner_series series;
    struct runner_totals totals; /* session_execute() fills */
    const volatile sig_atomic_t *n_stops;
};

/* Work out the plan with tokens counted, by tokenizer and config.json alone. From here on signals
 * are counted, and end the session in order: ST_INTERRUPTED. */
MUST_CHECK enum status session_plan(struct session *s, struct error *err);

/* Work out the memory that loading takes, where there are weights. */
MUST_CHECK enum status session_plan_memory(struct session *s, struct error *err);

/* Open the judge where the plan needs one. */
MUST_CHECK enum status session_open_judge(struct session *s, struct error *err);

/* Lock the run, a new one or that of resumed_id: what is left of opening where the rest is shared.
 */
MUST_CHECK enum status session_begin(struct session *s, const char *resumed_id, struct error *err);

/* Open judge, results file and model, and lock the run: a new one, or that of resumed_id. */
MUST_CHECK enum status session_open(struct session *s, const char *resumed_id, struct error *err);

/* Carry out what the run still lacks, store how it ended, print its results (of a series: its last
 * session's owner does); these also after an interruption. */
MUST_CHECK enum status session_execute(struct session *s, enum exit_code *ret_exit,
                                       struct error *err);

void session_close(struct session *s);

/* The model that the options name, or by default mini-e64 (with dummy weights the smallest shape),
 * and how it is to be opened, but for the sizes of a plan. ST_NOT_FOUND says what is missing. */
MUST_CHECK enum status session_model(const struct options *c, struct arena *a,
                                     struct engine_options *ret, struct error *err);

/* The tasks where --tasks is not given. */
const char *session_default_tasks(const struct options *c);

/* What printing needs to know. */
struct run_facts session_facts(const struct session *s);

#endif

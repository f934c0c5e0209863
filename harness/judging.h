/*
 * Judging: the judge opened from options, and answers on their way to a verdict. Shared by the
 * verbs that judge: whoever made an answer, it is read, graded and described in one way.
 */
#ifndef HARNESS_JUDGING_H
#define HARNESS_JUDGING_H

#include "base/status.h"
#include "harness/judge/judge.h"
#include "harness/options.h"
#include "results/results.h"
#include "tasks/task.h"

/* Limits and level from options. ST_INVALID: limits that contradict each other. */
MUST_CHECK enum status judging_options(const struct options *c, struct judge_options *ret,
                                       struct error *err);

/* The same, opened. A level that this machine lacks is ST_NOT_FOUND (environment), with the
 * missing layers named and what to do. */
MUST_CHECK enum status judging_open_with(const struct judge_options *o, struct judge **ret,
                                         struct error *err);
MUST_CHECK enum status judging_open(const struct options *c, struct judge **ret, struct error *err);

/* Habits of other harnesses that the options ask for, of enum task_compat. */
unsigned judging_compat(const struct options *c);

/* Version of the rules of extraction and grading, raised when one changes, with the habits in
 * force: "checks-2+mbpp-no-setup". In the arena; NULL when out of memory. */
const char *judging_checker(unsigned compat, struct arena *arena);

/* The judge's job of a task's program, but for its id; borrows the program's texts. */
struct judge_job judging_job(const struct task_program *p);

/* An answer to judge, the caller's until it is done. raw_output of the row is read; extracted,
 * extraction_method and verdict are filled in, with strings of the arena or of constant storage.
 * The verdict's checker_version is judging_checker(). */
struct answer {
    struct answer *next; /* the queue's */
    uint64_t id;         /* the queue's */
    void *owner;         /* the caller's: whatever the answer is a part of */
    const struct task *task;
    size_t item;
    struct task_reading how; /* its prompt is looked at during judging_put() only */
    struct arena *arena;
    struct sample_row *row;
};

/* Called for each answer once it has its verdict. Details and tails of the verdict live until it
 * returns. On ST_OK the answer is its own again; otherwise it stays with whom it was. */
typedef enum status (*judging_done_fn)(void *owner, void *arg, struct error *err);

/* Answers being judged. The first three members are the caller's to fill in. In the end whatever
 * is in `waiting`, by a stop or a failure, is the caller's to free. */
struct judging {
    struct judge *judge; /* NULL: no task with code */
    judging_done_fn done;
    void *arg;
    struct answer *waiting;
    size_t n_waiting;
    uint64_t next_id;
};

/* Read an answer; grade it at once, calling done(), or hand its program to the judge. After a
 * failure the answer is not in the queue. */
MUST_CHECK enum status judging_put(struct judging *q, struct answer *a, struct error *err);

/* Take one verdict if there is one within timeout_ns (as judge_wait()) and call done(). */
MUST_CHECK enum status judging_collect(struct judging *q, int64_t timeout_ns, bool *ret_has,
                                       struct error *err);

/* As many programs may wait before making more of them only takes memory. */
size_t judging_room(const struct judging *q);

#endif

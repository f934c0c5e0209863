/* The table of tasks, and the calls of task.h that hand on to a task's format. */
#include "tasks/task.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "tasks/internal.h"

#define MIT "MIT"
#define CC_BY "CC BY 4.0"
#define OWN "CC0-1.0"

/* gen_length: docs/grading.md, "Generation lengths". */
static const struct task_def defs[] = {
    {
        .name = "humaneval",
        .title = "HumanEval",
        .help = "164 Python functions to complete from signature and docstring",
        .kind = TASK_CODE,
        .file = "HumanEval.jsonl.gz",
        .data = &data_files[DATA_HUMANEVAL],
        .metric = "pass@1",
        .prompt_form = "chat-oc",
        .licence = MIT,
        .gen_length = 512,
        .format = FORMAT_HUMANEVAL,
    },
    {
        .name = "humaneval_pro",
        .title = "HumanEval Pro",
        .help = "164 pairs of functions, the second of which calls the first",
        .kind = TASK_CODE,
        .file = "humaneval_pro.json",
        .data = &data_files[DATA_HUMANEVAL_PRO],
        .metric = "pass@1",
        .prompt_form = "chat-oc",
        .licence = MIT,
        .gen_length = 1024,
        .format = FORMAT_HUMANEVAL_PRO,
    },
    {
        .name = "mbpp",
        .title = "MBPP",
        .help = "500 short Python problems, the test split (ids 11 to 510) of the full set",
        .kind = TASK_CODE,
        .file = "mbpp.jsonl",
        .data = &data_files[DATA_MBPP],
        .metric = "pass@1",
        .prompt_form = "chat-oc-3shot",
        .licence = CC_BY,
        .gen_length = 512,
        .format = FORMAT_MBPP,
        .first_id = 11,
        .last_id = 510,
    },
    {
        .name = "mbpp_all",
        .title = "MBPP, all splits",
        .help = "all 974 problems of the full set; three of them are the prompt's examples",
        .kind = TASK_CODE,
        .file = "mbpp.jsonl",
        .data = &data_files[DATA_MBPP],
        .metric = "pass@1",
        .prompt_form = "chat-oc-3shot",
        .licence = CC_BY,
        .gen_length = 512,
        .format = FORMAT_MBPP,
    },
    {
        .name = "mbpp_sanitized",
        .title = "MBPP sanitized",
        .help = "all 427 problems of the hand-checked set, as LLaDA2 and dInfer count",
        .kind = TASK_CODE,
        .file = "sanitized-mbpp.json",
        .data = &data_files[DATA_MBPP_SANITIZED],
        .metric = "pass@1",
        .prompt_form = "chat-dinfer",
        .licence = CC_BY,
        .gen_length = 512,
        .format = FORMAT_MBPP_SANITIZED,
    },
    {
        .name = "mbpp_sanitized_test",
        .title = "MBPP sanitized, test split",
        .help = "the 257 hand-checked problems with ids 11 to 510",
        .kind = TASK_CODE,
        .file = "sanitized-mbpp.json",
        .data = &data_files[DATA_MBPP_SANITIZED],
        .metric = "pass@1",
        .prompt_form = "chat-dinfer",
        .licence = CC_BY,
        .gen_length = 512,
        .format = FORMAT_MBPP_SANITIZED,
        .first_id = 11,
        .last_id = 510,
    },
    {
        .name = "gsm8k",
        .title = "GSM8K",
        .help = "1319 grade school word problems with a number as answer",
        .kind = TASK_ANSWER,
        .file = "gsm8k_test.jsonl",
        .data = &data_files[DATA_GSM8K],
        .metric = "accuracy",
        .prompt_form = "chat-oc-4shot",
        .licence = MIT,
        .gen_length = 512,
        .format = FORMAT_GSM8K,
    },
    {
        .name = "math500",
        .title = "MATH500",
        .help = "500 competition problems with a closed form as answer",
        .kind = TASK_ANSWER,
        .file = "math500.jsonl",
        .data = &data_files[DATA_MATH500],
        .metric = "accuracy",
        .prompt_form = "chat-boxed",
        .licence = MIT,
        .gen_length = 1024,
        .format = FORMAT_MATH,
        .level_name = "level",
        .subject_name = "subject",
    },
    {
        .name = "sample_humaneval",
        .title = "HumanEval sample",
        .help = "4 problems of our own in HumanEval's form, bundled with the program",
        .kind = TASK_CODE,
        .file = "sample/humaneval.jsonl",
        .is_bundled = true,
        .metric = "pass@1",
        .prompt_form = "chat-oc",
        .licence = OWN,
        .gen_length = 256,
        .format = FORMAT_HUMANEVAL,
    },
    {
        .name = "sample_humaneval_pro",
        .title = "HumanEval Pro sample",
        .help = "4 problems of our own in HumanEval Pro's form, bundled with the program",
        .kind = TASK_CODE,
        .file = "sample/humaneval_pro.json",
        .is_bundled = true,
        .metric = "pass@1",
        .prompt_form = "chat-oc",
        .licence = OWN,
        .gen_length = 512,
        .format = FORMAT_HUMANEVAL_PRO,
    },
    {
        .name = "sample_mbpp",
        .title = "MBPP sample",
        .help = "4 problems of our own in MBPP's form, bundled with the program",
        .kind = TASK_CODE,
        .file = "sample/mbpp.jsonl",
        .is_bundled = true,
        .metric = "pass@1",
        .prompt_form = "chat-dinfer",
        .licence = OWN,
        .gen_length = 256,
        .format = FORMAT_MBPP,
    },
    {
        .name = "sample_gsm8k",
        .title = "GSM8K sample",
        .help = "4 problems of our own in GSM8K's form, bundled with the program",
        .kind = TASK_ANSWER,
        .file = "sample/gsm8k.jsonl",
        .is_bundled = true,
        .metric = "accuracy",
        .prompt_form = "chat-oc-0shot",
        .licence = OWN,
        .gen_length = 256,
        .format = FORMAT_GSM8K,
    },
    {
        .name = "sample_math500",
        .title = "MATH500 sample",
        .help = "4 problems of our own in MATH500's form, bundled with the program",
        .kind = TASK_ANSWER,
        .file = "sample/math500.jsonl",
        .is_bundled = true,
        .metric = "accuracy",
        .prompt_form = "chat-boxed",
        .licence = OWN,
        .gen_length = 512,
        .format = FORMAT_MATH,
        .level_name = "level",
        .subject_name = "subject",
    },
    {
        .name = "mini-humaneval",
        .title = "HumanEval mini",
        .help = "128 functions composed of library skills, in HumanEval's form",
        .kind = TASK_CODE,
        .file = "mini/humaneval.jsonl",
        .is_bundled = true,
        .metric = "pass@1",
        .prompt_form = "chat-oc",
        .licence = OWN,
        .gen_length = 192,
        .format = FORMAT_HUMANEVAL,
        .level_name = "depth",
        .subject_name = "frequency",
    },
    {
        .name = "mini-humaneval_pro",
        .title = "HumanEval Pro mini",
        .help = "128 pairs of functions, the second of which calls the first",
        .kind = TASK_CODE,
        .file = "mini/humaneval_pro.json",
        .is_bundled = true,
        .metric = "pass@1",
        .prompt_form = "chat-oc",
        .licence = OWN,
        .gen_length = 192,
        .format = FORMAT_HUMANEVAL_PRO,
        .level_name = "depth",
        .subject_name = "frequency",
    },
    {
        .name = "mini-mbpp",
        .title = "MBPP mini",
        .help = "128 functions described in a sentence or two, in MBPP's form",
        .kind = TASK_CODE,
        .file = "mini/mbpp.jsonl",
        .is_bundled = true,
        .metric = "pass@1",
        .prompt_form = "chat-dinfer",
        .licence = OWN,
        .gen_length = 256,
        .format = FORMAT_MBPP,
        .level_name = "depth",
        .subject_name = "frequency",
    },
    {
        .name = "mini-gsm8k",
        .title = "GSM8K mini",
        .help = "128 word problems of one to six events, in GSM8K's form",
        .kind = TASK_ANSWER,
        .file = "mini/gsm8k.jsonl",
        .is_bundled = true,
        .metric = "accuracy",
        .prompt_form = "chat-oc-0shot",
        .licence = OWN,
        .gen_length = 192,
        .format = FORMAT_GSM8K,
        .level_name = "depth",
    },
    {
        .name = "mini-math500",
        .title = "MATH500 mini",
        .help = "128 closed forms of quantities defined in turn, in MATH500's form",
        .kind = TASK_ANSWER,
        .file = "mini/math500.jsonl",
        .is_bundled = true,
        .metric = "accuracy",
        .prompt_form = "chat-boxed",
        .licence = OWN,
        .gen_length = 192,
        .format = FORMAT_MATH,
        .level_name = "depth",
        .subject_name = "subject",
    },
    {
        .name = "mini-humaneval-full",
        .title = "HumanEval mini, full",
        .help = "1000 functions composed of library skills, in HumanEval's form",
        .kind = TASK_CODE,
        .file = "mini/humaneval_full.jsonl.gz",
        .is_bundled = true,
        .metric = "pass@1",
        .prompt_form = "chat-oc",
        .licence = OWN,
        .gen_length = 192,
        .format = FORMAT_HUMANEVAL,
        .level_name = "depth",
        .subject_name = "frequency",
    },
    {
        .name = "mini-humaneval_pro-full",
        .title = "HumanEval Pro mini, full",
        .help = "1000 pairs of functions, the second of which calls the first",
        .kind = TASK_CODE,
        .file = "mini/humaneval_pro_full.json.gz",
        .is_bundled = true,
        .metric = "pass@1",
        .prompt_form = "chat-oc",
        .licence = OWN,
        .gen_length = 192,
        .format = FORMAT_HUMANEVAL_PRO,
        .level_name = "depth",
        .subject_name = "frequency",
    },
    {
        .name = "mini-mbpp-full",
        .title = "MBPP mini, full",
        .help = "1000 functions described in a sentence or two, in MBPP's form",
        .kind = TASK_CODE,
        .file = "mini/mbpp_full.jsonl.gz",
        .is_bundled = true,
        .metric = "pass@1",
        .prompt_form = "chat-dinfer",
        .licence = OWN,
        .gen_length = 256,
        .format = FORMAT_MBPP,
        .level_name = "depth",
        .subject_name = "frequency",
    },
    {
        .name = "mini-gsm8k-full",
        .title = "GSM8K mini, full",
        .help = "1000 word problems of one to six events, in GSM8K's form",
        .kind = TASK_ANSWER,
        .file = "mini/gsm8k_full.jsonl.gz",
        .is_bundled = true,
        .metric = "accuracy",
        .prompt_form = "chat-oc-0shot",
        .licence = OWN,
        .gen_length = 192,
        .format = FORMAT_GSM8K,
        .level_name = "depth",
    },
    {
        .name = "mini-math500-full",
        .title = "MATH500 mini, full",
        .help = "1000 closed forms of quantities defined in turn, in MATH500's form",
        .kind = TASK_ANSWER,
        .file = "mini/math500_full.jsonl.gz",
        .is_bundled = true,
        .metric = "accuracy",
        .prompt_form = "chat-boxed",
        .licence = OWN,
        .gen_length = 192,
        .format = FORMAT_MATH,
        .level_name = "depth",
        .subject_name = "subject",
    },
};

enum { N_TASKS = sizeof(defs) / sizeof(defs[0]) };

const struct task_def *const *task_table(void)
{
    static const struct task_def *const table[] = {
        &defs[0],  &defs[1],  &defs[2],  &defs[3],  &defs[4],  &defs[5],  &defs[6],  &defs[7],
        &defs[8],  &defs[9],  &defs[10], &defs[11], &defs[12], &defs[13], &defs[14], &defs[15],
        &defs[16], &defs[17], &defs[18], &defs[19], &defs[20], &defs[21], &defs[22], NULL,
    };

    _Static_assert(sizeof(table) / sizeof(table[0]) == N_TASKS + 1, "every task is listed");
    return table;
}

const struct task_def *task_find(const char *name)
{
    for (size_t i = 0; i < N_TASKS; i++)
        if (strcmp(defs[i].name, name) == 0)
            return &defs[i];
    return NULL;
}

const struct format *format_get(const struct task_def *def)
{
    static const struct format *const formats[N_FORMATS] = {
        [FORMAT_HUMANEVAL] = &format_humaneval, [FORMAT_HUMANEVAL_PRO] = &format_humaneval_pro,
        [FORMAT_MBPP] = &format_mbpp,           [FORMAT_MBPP_SANITIZED] = &format_mbpp_sanitized,
        [FORMAT_GSM8K] = &format_gsm8k,         [FORMAT_MATH] = &format_math,
    };

    assert(def->format >= 0 && def->format < N_FORMATS);
    return formats[def->format];
}

static struct task *task_new(const struct task_def *def, struct error *err)
{
    struct task *t = calloc(1, sizeof(*t));

    if (!t) {
        error_set(err, ST_NOMEM, "out of memory opening task '%s'", def->name);
        return NULL;
    }
    t->def = def;
    t->format = format_get(def);
    return t;
}

enum status task_open(const struct task_def *def, const char *dir, bool is_sha_checked,
                      struct task **ret, struct error *err)
{
    struct task *t = task_new(def, err);
    enum status st;

    if (!t)
        return ST_NOMEM;
    st = dataset_read(t, dir, is_sha_checked, err);
    if (st)
        goto out;
    examples_read(t, dir, is_sha_checked);
    *ret = t;
    t = NULL; /* the caller owns it now */
out:
    task_close(t);
    return st;
}

enum status task_open_bytes(const struct task_def *def, const char *name, const void *data,
                            size_t len, bool is_sha_checked, struct task **ret, struct error *err)
{
    struct task *t = task_new(def, err);
    enum status st;

    if (!t)
        return ST_NOMEM;
    error_set(&t->fewshot.error, ST_NOT_FOUND, "no few-shot examples come with '%s'", name);
    error_set(&t->train.error, ST_NOT_FOUND, "no training set comes with '%s'", name);
    st = dataset_parse(t, name, data, len, is_sha_checked, err);
    if (!st) {
        *ret = t;
        t = NULL;
    }
    task_close(t);
    return st;
}

void task_close(struct task *t)
{
    if (!t)
        return;
    json_decref(t->records);
    json_decref(t->index);
    json_decref(t->fewshot.records);
    json_decref(t->train.records);
    free(t->items);
    arena_release(&t->arena);
    free(t);
}

const struct task_def *task_get_def(const struct task *t)
{
    return t->def;
}

size_t task_n_items(const struct task *t)
{
    return t->n_items;
}

const char *task_source(const struct task_def *def)
{
    return def->data ? def->data->addresses[0] : "tasks";
}

const char *task_sha256(const struct task *t)
{
    return t->sha256;
}

static const struct item *get_item(const struct task *t, size_t index)
{
    assert(index < t->n_items);
    return &t->items[index];
}

void task_get_item(const struct task *t, size_t index, struct task_item *ret)
{
    const struct item *it = get_item(t, index);

    *ret = (struct task_item){ .id = it->id, .subject = it->subject, .level = it->level };
    memcpy(ret->sha256, it->sha256, sizeof(ret->sha256));
    memcpy(ret->reference_sha256, it->reference_sha256, sizeof(ret->reference_sha256));
}

bool task_find_item(const struct task *t, const char *id, size_t *ret)
{
    const json_t *v = json_object_get(t->index, id);

    if (!v || json_integer_value(v) < 0)
        return false;
    *ret = (size_t)json_integer_value(v);
    return true;
}

enum status task_put_record(const struct task *t, size_t index, bool is_indented, struct buf *ret,
                            struct error *err)
{
    json_put_value(ret, get_item(t, index)->record, is_indented ? JSON_INDENT(2) : 0);
    return buf_ok(ret) ? ST_OK : error_set(err, ST_NOMEM, "out of memory for a record");
}

const char *answer_kind_name(enum answer_kind kind)
{
    static const char *const names[] = { [ANSWER_OUTPUT] = "output",
                                         [ANSWER_COMPLETION] = "completion",
                                         [ANSWER_SOLUTION] = "solution" };

    return names[kind];
}

bool task_takes(const struct task_def *def, enum answer_kind kind)
{
    return kind == ANSWER_OUTPUT ||
           (def->kind == TASK_CODE &&
            (kind == ANSWER_SOLUTION || format_get(def)->code_prompt != NULL));
}

const char *task_compat_name(size_t i)
{
    static const char *const names[] = { "humaneval-lstrip", "pro-first-block", "mbpp-no-setup",
                                         "pro-sanitized" };

    return i < sizeof(names) / sizeof(names[0]) ? names[i] : NULL;
}

void task_compat_put(unsigned compat, struct buf *b)
{
    for (size_t i = 0; task_compat_name(i); i++)
        if (compat & 1u << i)
            buf_printf(b, "+%s", task_compat_name(i));
}

/* Up to the first place where one of the strings begins. */
static struct span cut_at_stops(struct span text, const char *const *stops)
{
    size_t at;

    for (; stops && *stops; stops++)
        if (span_find(text, *stops, &at))
            text = span_sub(text, 0, at);
    return text;
}

/* The whole answer: what the prompt began of it, and the output up to where it ends. */
static enum status whole_answer(const struct task_prompt *prompt, struct span output,
                                struct arena *arena, struct span *ret, struct error *err)
{
    struct buf b = { 0 };

    output = cut_at_stops(output, prompt->stops);
    buf_append(&b, prompt->prefix, prompt->prefix_len);
    buf_append(&b, output.s, output.len);
    ret->s = buf_to_arena(&b, arena, &ret->len);
    return ret->s ? ST_OK : error_set(err, ST_NOMEM, "out of memory reading an answer");
}

/* The text that a rule is applied to. */
static enum status read_output(const struct task_reading *how, struct span output,
                               struct arena *arena, struct span *ret, struct error *err)
{
    enum status st = text_clean(output, arena, ret, err);

    return !st && how && how->prompt ? whole_answer(how->prompt, *ret, arena, ret, err) : st;
}

enum status task_extract(const struct task *t, size_t index, const struct task_reading *how,
                         const char *output, size_t len, struct arena *arena,
                         struct extraction *ret, struct error *err)
{
    struct span text;
    enum status st;

    if (how && how->kind != ANSWER_OUTPUT) /* nothing is cleaned, cut or found */
        return extraction_set(ret, (struct span){ output, len }, answer_kind_name(how->kind), arena,
                              err);
    st = read_output(how, (struct span){ output, len }, arena, &text, err);
    if (st)
        return st;
    if (how && how->prompt && how->prompt->is_code)
        return extraction_set(ret, span_trim_lines(text), "continued", arena, err);
    return t->format->extract(get_item(t, index), how ? how->compat : 0, text, arena, ret, err);
}

enum status task_extract_answer(const struct task_def *def, const struct task_reading *how,
                                const char *output, size_t len, struct arena *arena,
                                struct extraction *ret, struct error *err)
{
    struct span text;
    enum status st;

    if (def->kind != TASK_ANSWER)
        return error_set(err, ST_UNSUPPORTED, "extraction for task '%s' needs the item", def->name);
    st = read_output(how, (struct span){ output, len }, arena, &text, err);
    return st ? st : format_get(def)->extract(NULL, 0, text, arena, ret, err);
}

enum status task_make_program(const struct task *t, size_t index, const struct task_reading *how,
                              const struct extraction *x, struct arena *arena,
                              struct task_program *ret, struct error *err)
{
    enum answer_kind kind = how ? how->kind : ANSWER_OUTPUT;
    const struct item *it = get_item(t, index);
    struct span code = { x->text, x->len };
    struct span prompt;
    struct buf b = { 0 };

    assert(x->text && task_takes(t->def, kind) && t->def->kind == TASK_CODE);
    if (kind == ANSWER_COMPLETION) {
        prompt = item_str(it, t->format->code_prompt);
        buf_append(&b, prompt.s, prompt.len);
        buf_append(&b, code.s, code.len);
        code.s = buf_to_arena(&b, arena, &code.len);
        if (!code.s)
            return error_set(err, ST_NOMEM, "out of memory for a program");
    }
    if (kind != ANSWER_OUTPUT && t->format->make_solution)
        return t->format->make_solution(it, code, arena, ret, err);
    return t->format->make_program(it, how ? how->compat : 0, code, arena, ret, err);
}

enum status task_grade_answer(const struct task *t, size_t index, const struct task_reading *how,
                              const struct extraction *x, const char *output, size_t output_len,
                              struct arena *arena, struct task_grade *ret, struct error *err)
{
    struct span text = { output, output_len };

    assert(t->def->kind == TASK_ANSWER);
    if (how && how->prompt)
        text = cut_at_stops(text, how->prompt->stops);
    return t->format->grade(get_item(t, index), x, text, arena, ret, err);
}

enum status task_equal(const struct task_def *def, const char *pred, size_t pred_len,
                       const char *gold, size_t gold_len, bool *ret, struct error *err)
{
    if (def->kind != TASK_ANSWER)
        return error_set(err, ST_UNSUPPORTED,
                         "task '%s' is graded by running tests, not by comparing answers",
                         def->name);
    return format_get(def)->equal((struct span){ pred, pred_len }, (struct span){ gold, gold_len },
                                  ret, err);
}

const char *task_gold(const struct task *t, size_t index)
{
    return get_item(t, index)->gold;
}

enum status task_make_reference(const struct task *t, size_t index, struct arena *arena,
                                const char **ret, size_t *ret_len, struct error *err)
{
    struct buf b = { 0 };
    const char *text;
    size_t len;

    item_put_reference(t->format, get_item(t, index), &b);
    text = buf_to_arena(&b, arena, &len);
    if (!text)
        return error_set(err, ST_NOMEM, "out of memory for a reference");
    *ret = text;
    *ret_len = len;
    return ST_OK;
}

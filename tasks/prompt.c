/*
 * Prompt forms: one table, a row a form. The wording is that of the harnesses named in each row,
 * byte for byte, as scores under other wordings differ by several points.
 *
 * A template is text with fields of the record in braces: {prompt}; {prompt|strip} without the
 * white space around; a list of strings is joined by newlines. Braces around anything else are
 * text. Few-shot examples come from fewshot.json in the data folder, as turns of a chat.
 */
#include <string.h>

#include "base/json.h"
#include "tasks/internal.h"

static const char fewshot_name[] = "fewshot.json";
enum { FEWSHOT_BYTES_MAX = 16 << 20 };

struct form {
    enum task_format format;
    bool is_chat;
    const char *name;
    const char *template; /* of the user's turn, or of the whole text */
    const char *fewshot;  /* key in fewshot.json; NULL: no examples */
    int n_shots;
    const char *const *stops;
};

/* lm-eval's humaneval.yaml, where a completed function ends. */
static const char *const stops_python[] = { "\nclass", "\ndef", "\n#", "\nif", "\nprint", NULL };
/* CodeEval-Pro's vLLM script, those that may come as text. */
static const char *const stops_pro[] = { "<|endoftext|>", "<|endofmask|>", "</s>", "<|EOT|>",
                                         NULL };
/* lm-eval's gsm8k-cot-zeroshot.yaml. */
static const char *const stops_q[] = { "Q:", "</s>", "<|im_end|>", NULL };
/* lm-eval's hendrycks_math500.yaml. */
static const char *const stops_problem[] = { "Problem:", NULL };

#define PRO_PERSONA                                                                                \
    "You are an exceptionally intelligent coding assistant that consistently delivers accurate "   \
    "and reliable responses to user instructions.\n"
#define PRO_TASK                                                                                   \
    "Write a solution of python file to the following problems, the solution of the second "       \
    "problem requires single or multiple calls to the first solution.\n"
#define MBPP_TASK(text)                                                                            \
    "You are an expert Python programmer, and here is your task: {" text                           \
    "} Your code should pass these tests:\n\n"
#define DINFER_FRAME                                                                               \
    "{test_list}\n\nPlease enclose your code within delimiters as follows:\n"                      \
    "```python\n# YOUR CODE HERE\n```\n\n"

/* Rows of a format stand together; the first is its default, unless a task names another. */
static const struct form forms[] = {
    /* OpenCompass humaneval_gen_8e312c, as LLaDA and LLaDA 1.5 report */
    { FORMAT_HUMANEVAL, true, "chat-oc", "Complete the following python code:\n{prompt}", NULL, 0,
      NULL },
    /* OpenCompass' later default, and simple-evals */
    { FORMAT_HUMANEVAL, true, "chat-simple-evals",
      "Read the following function signature and docstring, and fully implement the function "
      "described. Your response should only contain the code for this function.\n{prompt}",
      NULL, 0, NULL },
    /* lm-eval humaneval, OpenCompass for base models */
    { FORMAT_HUMANEVAL, false, "complete", "{prompt}", NULL, 0, stops_python },

    /* OpenCompass humaneval_pro_gen_3dc067 */
    { FORMAT_HUMANEVAL_PRO, true, "chat-oc",
      PRO_PERSONA PRO_TASK
      "```python\n{raw_problem}\n{new_problem}\n```\n"
      "Please put the two solutions within the Python code block provided below, and make sure "
      "that the block contains no other unrelated content:\n```python\n```\n",
      NULL, 0, NULL },
    /* CodeEval-Pro's vLLM script */
    { FORMAT_HUMANEVAL_PRO, false, "complete",
      PRO_PERSONA "@@ Instruction\n" PRO_TASK
                  "```python\n{raw_problem|strip}\n{new_problem|strip}\n```\n\n"
                  "@@ Response\n```python\n{raw_problem|strip}\n",
      NULL, 0, stops_pro },

    /* OpenCompass mbpp_gen_830460, as LLaDA reports */
    { FORMAT_MBPP, true, "chat-oc-3shot", MBPP_TASK("text") " {test_list}  \n",
      "mbpp_opencompass_3shot", 3, NULL },
    /* dInfer's sanitized form, with the full set's text */
    { FORMAT_MBPP, true, "chat-dinfer", MBPP_TASK("text") DINFER_FRAME, NULL, 0, NULL },

    /* dInfer, as LLaDA2 reports */
    { FORMAT_MBPP_SANITIZED, true, "chat-dinfer", MBPP_TASK("prompt") DINFER_FRAME, NULL, 0, NULL },
    /* OpenCompass mbpp_gen_830460, with the sanitized set's text */
    { FORMAT_MBPP_SANITIZED, true, "chat-oc-3shot", MBPP_TASK("prompt") " {test_list}  \n",
      "mbpp_opencompass_3shot", 3, NULL },

    /* OpenCompass gsm8k_gen_1d7fe4, as LLaDA reports */
    { FORMAT_GSM8K, true, "chat-oc-4shot",
      "Question: {question}\nLet's think step by step\nAnswer:", "gsm8k_opencompass_4shot", 4,
      NULL },
    /* the same without examples; nobody's published form */
    { FORMAT_GSM8K, true, "chat-oc-0shot",
      "Question: {question}\nLet's think step by step\nAnswer:", NULL, 0, NULL },
    /* lm-eval gsm8k_cot_zeroshot */
    { FORMAT_GSM8K, false, "complete-cot-0shot", "Q: {question}\nA: Let's think step by step.",
      NULL, 0, stops_q },

    /* OpenCompass math_0shot_gen_11c4b5 */
    { FORMAT_MATH, true, "chat-boxed",
      "{problem}\nPlease reason step by step, and put your final answer within \\boxed{}.", NULL, 0,
      NULL },
    /* simple-evals */
    { FORMAT_MATH, true, "chat-simple-evals",
      "Solve the following math problem step by step. The last line of your response should be "
      "of the form Answer: $ANSWER (without quotes) where $ANSWER is the answer to the problem."
      "\n\n{problem}\n\nRemember to put your answer on its own line after \"Answer:\", and you do "
      "not need to use a \\boxed command.",
      NULL, 0, NULL },
    /* lm-eval hendrycks_math500 */
    { FORMAT_MATH, false, "complete", "Problem: {problem}\nAnswer:", NULL, 0, stops_problem },
};

enum { N_FORMS = sizeof(forms) / sizeof(forms[0]) };

const char *const *task_prompt_forms(const struct task_def *def)
{
    static const char *const humaneval[] = { "chat-oc", "chat-simple-evals", "complete", NULL };
    static const char *const pro[] = { "chat-oc", "complete", NULL };
    static const char *const mbpp[] = { "chat-oc-3shot", "chat-dinfer", NULL };
    static const char *const sanitized[] = { "chat-dinfer", "chat-oc-3shot", NULL };
    static const char *const gsm8k[] = { "chat-oc-4shot", "chat-oc-0shot", "complete-cot-0shot",
                                         NULL };
    static const char *const math[] = { "chat-boxed", "chat-simple-evals", "complete", NULL };
    static const char *const *const by_format[N_FORMATS] = {
        [FORMAT_HUMANEVAL] = humaneval,      [FORMAT_HUMANEVAL_PRO] = pro, [FORMAT_MBPP] = mbpp,
        [FORMAT_MBPP_SANITIZED] = sanitized, [FORMAT_GSM8K] = gsm8k,       [FORMAT_MATH] = math,
    };
    /* fewshot.json is no part of the program, so bundled tasks have no form that needs it */
    static const char *const bundled_mbpp[] = { "chat-dinfer", NULL };
    static const char *const bundled_gsm8k[] = { "chat-oc-0shot", "complete-cot-0shot", NULL };

    if (def->is_bundled && def->format == FORMAT_MBPP)
        return bundled_mbpp;
    if (def->is_bundled && def->format == FORMAT_GSM8K)
        return bundled_gsm8k;
    return by_format[def->format];
}

static const struct form *find_form(const struct task_def *def, const char *name)
{
    for (const char *const *p = task_prompt_forms(def); *p; p++)
        for (size_t i = 0; strcmp(*p, name) == 0 && i < N_FORMS; i++)
            if ((int)forms[i].format == def->format && strcmp(forms[i].name, name) == 0)
                return &forms[i];
    return NULL;
}

/* Names of the task's forms, those without examples only if is_zero_shot, joined by ", ". */
static void put_form_names(const struct task_def *def, bool is_zero_shot, struct buf *b)
{
    for (const char *const *p = task_prompt_forms(def); *p; p++)
        if (!is_zero_shot || !find_form(def, *p)->fewshot) {
            if (b->len)
                buf_puts(b, ", ");
            buf_puts(b, *p);
        }
}

bool fewshot_is_used(const struct task_def *def)
{
    for (const char *const *p = task_prompt_forms(def); *p; p++)
        if (find_form(def, *p)->fewshot)
            return true;
    return false;
}

void fewshot_read(struct task *t, const char *dir)
{
    char *path;

    if (!fewshot_is_used(t->def))
        return;
    path = arena_printf(&t->arena, "%s/%s", dir, fewshot_name);
    if (!path)
        error_set(&t->fewshot_error, ST_NOMEM, "out of memory reading '%s'", fewshot_name);
    else if (json_read(path, FEWSHOT_BYTES_MAX, &t->fewshot, &t->fewshot_error) == ST_NOT_FOUND)
        error_set(&t->fewshot_error, ST_NOT_FOUND,
                  "no file '%s' with few-shot examples (`desbench data fetch` makes it)", path);
}

/* Append {key} or {key|strip} if the format has such a field; returns the length of what stood
 * for it in the template, or 0 if the brace is text. */
static size_t put_field(const struct task *t, const struct item *it, const char *at, struct buf *b)
{
    for (const struct field *f = t->format->fields; f->key; f++) {
        size_t n = strlen(f->key);
        bool is_stripped;
        struct span s;

        if (strncmp(at + 1, f->key, n) != 0 || (at[1 + n] != '}' && at[1 + n] != '|'))
            continue;
        is_stripped = at[1 + n] == '|';
        if (f->kind == FIELD_LIST || f->kind == FIELD_LIST_EMPTY) {
            item_put_list(it, f->key, b);
        } else {
            s = item_str(it, f->key);
            s = is_stripped ? span_trim(s) : s;
            buf_append(b, s.s, s.len);
        }
        return 1 + n + (is_stripped ? strlen("|strip") : 0) + 1;
    }
    return 0;
}

static void put_template(const struct task *t, const struct item *it, const char *template,
                         struct buf *b)
{
    for (const char *p = template; *p;) {
        size_t n = *p == '{' ? put_field(t, it, p, b) : 0;

        if (n == 0) {
            buf_putc(b, *p);
            n = 1;
        }
        p += n;
    }
}

/* The form's examples as pairs of user and assistant turns. */
static enum status put_shots(const struct task *t, const struct form *form, struct arena *arena,
                             struct task_message *ret, struct error *err)
{
    const char *where = arena_printf(arena, "'%s' key '%s'", fewshot_name, form->fewshot);
    size_t need = (size_t)form->n_shots * 2;
    json_t *entry, *turns;
    enum status st;

    if (!where)
        return error_set(err, ST_NOMEM, "out of memory for a prompt");
    if (!t->fewshot && t->fewshot_error.status == ST_NOT_FOUND) {
        struct buf others = { 0 };

        put_form_names(t->def, true, &others);
        st = error_set(err, ST_NOT_FOUND, "%s: prompt form '%s' of task '%s' needs it; %s do not",
                       t->fewshot_error.text, form->name, t->def->name, buf_str(&others));
        buf_release(&others);
        return st;
    }
    if (!t->fewshot)
        return error_set(err, t->fewshot_error.status, "%s", t->fewshot_error.text);
    st = json_get_object(t->fewshot, fewshot_name, form->fewshot, &entry, err);
    if (!st)
        st = json_get_array(entry, where, "turns", &turns, err);
    if (st)
        return st;
    if (json_array_size(turns) < need)
        return error_set(err, ST_INVALID, "%s: %zu turns, at least %zu are needed", where,
                         json_array_size(turns), need);
    for (size_t i = 0; i < need; i++) {
        const char *wanted = i % 2 == 0 ? "HUMAN" : "BOT", *role, *text;
        const json_t *turn = json_array_get(turns, i);
        const char *at = arena_printf(arena, "%s turn %zu", where, i);

        if (!at)
            return error_set(err, ST_NOMEM, "out of memory for a prompt");
        st = json_get_str(turn, at, "role", &role, NULL, err);
        if (!st)
            st = json_get_str(turn, at, "text", &text, NULL, err);
        if (!st && strcmp(role, wanted) != 0)
            st = error_set(err, ST_INVALID, "%s: role '%s', '%s' is needed", at, role, wanted);
        if (st)
            return st;
        ret[i].role = i % 2 == 0 ? "user" : "assistant";
        ret[i].len = strlen(text);
        ret[i].text = arena_strdup(arena, text, ret[i].len);
        if (!ret[i].text)
            return error_set(err, ST_NOMEM, "out of memory for a prompt");
    }
    return ST_OK;
}

enum status task_make_prompt(const struct task *t, size_t index, const char *form_name,
                             struct arena *arena, struct task_prompt *ret, struct error *err)
{
    const char *name = form_name ? form_name : t->def->prompt_form;
    const struct form *form = find_form(t->def, name);
    struct task_message *msgs, *last;
    struct buf b = { 0 };
    size_t n_shot_msgs;
    enum status st = ST_OK;

    if (!form) {
        put_form_names(t->def, false, &b);
        st = error_set(err, ST_INVALID, "task '%s' has no prompt form '%s'; its forms are %s",
                       t->def->name, name, buf_str(&b));
        buf_release(&b);
        return st;
    }
    n_shot_msgs = (size_t)form->n_shots * 2;
    msgs = arena_array(arena, n_shot_msgs + 1, sizeof(*msgs));
    if (!msgs)
        return error_set(err, ST_NOMEM, "out of memory for a prompt");
    if (form->fewshot)
        st = put_shots(t, form, arena, msgs, err);
    if (st)
        return st;
    put_template(t, &t->items[index], form->template, &b);
    last = &msgs[n_shot_msgs];
    last->role = "user";
    last->text = buf_to_arena(&b, arena, &last->len);
    if (!last->text)
        return error_set(err, ST_NOMEM, "out of memory for a prompt");
    *ret = (struct task_prompt){
        .form = form->name,
        .is_chat = form->is_chat,
        .n_shots = form->n_shots,
        .msgs = msgs,
        .n_msgs = n_shot_msgs + 1,
        .stops = form->stops,
        .prefix = "",
    };
    return ST_OK;
}

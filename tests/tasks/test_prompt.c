/* Prompt forms, byte for byte. */
#include "support.h"

#include <unistd.h>

#define FENCE "```"

static struct arena arena;

static struct task_prompt make(const struct task *t, const char *id, const char *form)
{
    struct task_prompt p = { 0 };
    struct error err = { 0 };

    cr_assert_eq(task_make_prompt(t, support_index(t, id), form, &arena, &p, &err), ST_OK, "%s",
                 err.text);
    return p;
}

static void expect_one(const char *task, const char *id, const char *form, bool is_chat,
                       const char *text)
{
    struct task *t = support_open(task);
    struct task_prompt p = make(t, id, form);

    cr_assert_eq(p.n_msgs, 1);
    cr_expect_eq(p.n_shots, 0);
    cr_expect_eq(p.is_chat, is_chat);
    cr_expect_str_eq(p.msgs[0].role, "user");
    cr_expect_str_eq(p.msgs[0].text, text);
    cr_expect_eq(p.msgs[0].len, strlen(text));
    task_close(t);
    arena_release(&arena);
}

#define LAMP                                                                                       \
    "def count_switches(states: list) -> int:\n"                                                   \
    "    \"\"\"A lamp is logged once a minute as True (on) or False (off). Return how often\n"     \
    "    its state changed from one entry to the next.\n"                                          \
    "    >>> count_switches([True, True, False, True])\n"                                          \
    "    2\n"                                                                                      \
    "    >>> count_switches([])\n"                                                                 \
    "    0\n"                                                                                      \
    "    \"\"\"\n"

Test(prompt, humaneval_asks_in_opencompass_words)
{
    expect_one("sample_humaneval", "Sample/0", NULL, true,
               "Complete the following python code:\n" LAMP);
}

Test(prompt, humaneval_asks_in_simple_evals_words)
{
    expect_one("sample_humaneval", "Sample/0", "chat-simple-evals", true,
               "Read the following function signature and docstring, and fully implement the "
               "function described. Your response should only contain the code for this "
               "function.\n" LAMP);
}

Test(prompt, humaneval_completes_the_bare_prompt)
{
    struct task *t = support_open("sample_humaneval");
    struct task_prompt p = make(t, "Sample/0", "complete");

    cr_expect_str_eq(p.msgs[0].text, LAMP);
    cr_expect(!p.is_chat);
    cr_assert_not_null(p.stops);
    cr_expect_str_eq(p.stops[0], "\nclass");
    task_close(t);
    arena_release(&arena);
}

#define MINUTES                                                                                    \
    "def minutes(clock: str) -> int:\n"                                                            \
    "    \"\"\"Minutes since midnight of a time such as \"07:45\".\n"                              \
    "    >>> minutes(\"01:30\")\n"                                                                 \
    "    90\n"                                                                                     \
    "    \"\"\""
#define SHIFTS                                                                                     \
    "# Given the start and end times of shifts as pairs of strings, return the total of minutes "  \
    "worked. A shift that ends before it starts runs past midnight.\n"                             \
    "def total_minutes(shifts: list) -> int:"
#define PERSONA                                                                                    \
    "You are an exceptionally intelligent coding assistant that consistently delivers accurate "   \
    "and reliable responses to user instructions.\n"
#define PAIR                                                                                       \
    "Write a solution of python file to the following problems, the solution of the second "       \
    "problem requires single or multiple calls to the first solution.\n"

Test(prompt, humaneval_pro_asks_in_opencompass_words)
{
    expect_one("sample_humaneval_pro", "1", NULL, true,
               PERSONA PAIR FENCE "python\n" MINUTES "\n\n" SHIFTS "\n\n" FENCE "\n"
                                  "Please put the two solutions within the Python code block "
                                  "provided below, and make sure that the block contains no other "
                                  "unrelated content:\n" FENCE "python\n" FENCE "\n");
}

Test(prompt, humaneval_pro_completes_with_stripped_fields)
{
    expect_one("sample_humaneval_pro", "1", "complete", false,
               PERSONA "@@ Instruction\n" PAIR FENCE "python\n" MINUTES "\n" SHIFTS "\n" FENCE
                       "\n\n@@ Response\n" FENCE "python\n" MINUTES "\n");
}

Test(prompt, mbpp_asks_in_dinfer_words)
{
    expect_one("sample_mbpp", "2", NULL, true,
               "You are an expert Python programmer, and here is your task: Write a function to "
               "merge two lists by taking their elements in turn, then the rest of the longer one. "
               "Your code should pass these tests:\n\n"
               "assert alternate([1, 3], [2, 4]) == [1, 2, 3, 4]\n"
               "assert alternate([1], [2, 5, 6]) == [1, 2, 5, 6]\n"
               "assert alternate([], [7]) == [7]\n\n"
               "Please enclose your code within delimiters as follows:\n" FENCE
               "python\n# YOUR CODE HERE\n" FENCE "\n\n");
}

#define FERRY                                                                                      \
    "A ferry makes 6 trips a day. On each trip it carries 45 cars, except for the last trip, "     \
    "which carries only 20. How many cars does it carry in a day?"

Test(prompt, gsm8k_asks_in_opencompass_words)
{
    expect_one("sample_gsm8k", "0", NULL, true,
               "Question: " FERRY "\nLet's think step by step\nAnswer:");
}

Test(prompt, gsm8k_completes_in_lm_eval_words)
{
    expect_one("sample_gsm8k", "0", "complete-cot-0shot", false,
               "Q: " FERRY "\nA: Let's think step by step.");
}

#define REMAINDER "What is the remainder when $7^{2026}$ is divided by $100$?"

Test(prompt, math500_asks_for_a_box)
{
    expect_one("sample_math500", "sample/number_theory/4.json", NULL, true,
               REMAINDER "\nPlease reason step by step, and put your final answer within "
                         "\\boxed{}.");
}

Test(prompt, math500_asks_in_simple_evals_words)
{
    expect_one("sample_math500", "sample/number_theory/4.json", "chat-simple-evals", true,
               "Solve the following math problem step by step. The last line of your response "
               "should be of the form Answer: $ANSWER (without quotes) where $ANSWER is the answer "
               "to the problem.\n\n" REMAINDER
               "\n\nRemember to put your answer on its own line after \"Answer:\", and you do not "
               "need to use a \\boxed command.");
}

Test(prompt, math500_completes_in_lm_eval_words)
{
    expect_one("sample_math500", "sample/number_theory/4.json", "complete", false,
               "Problem: " REMAINDER "\nAnswer:");
}

/* Expectations made from the data by tests/data/make_prompt_hashes.py. */
static const json_t *find_expectation(const json_t *rows, const char *task, const char *form)
{
    size_t k;
    json_t *row;

    json_array_foreach(rows, k, row)
    {
        if (strcmp(json_string_value(json_object_get(row, "task")), task) == 0 &&
            strcmp(json_string_value(json_object_get(row, "form")), form) == 0)
            return row;
    }
    return NULL;
}

static void check_item(const struct task *t, const char *form, const json_t *want)
{
    const char *id = json_string_value(json_object_get(want, "id"));
    struct task_prompt p = make(t, id, form);
    struct sha256 *h = sha256_new();
    const struct task_message *last = &p.msgs[p.n_msgs - 1];
    char hex[65];
    size_t bytes = 0;

    cr_expect_eq((json_int_t)p.n_msgs, json_integer_value(json_object_get(want, "messages")));
    for (size_t i = 0; i < p.n_msgs; i++) {
        sha256_add(h, p.msgs[i].role, strlen(p.msgs[i].role) + 1);
        sha256_add(h, p.msgs[i].text, p.msgs[i].len + 1);
        bytes += p.msgs[i].len;
    }
    sha256_add(h, p.prefix, p.prefix_len + 1);
    sha256_finish(h, hex);
    cr_expect_eq((json_int_t)bytes, json_integer_value(json_object_get(want, "bytes")),
                 "%s %s: %zu bytes", form, id, bytes);
    cr_expect_str_eq(hex, json_string_value(json_object_get(want, "sha256")), "%s %s", form, id);
    cr_expect(p.prefix_len <= last->len &&
                  memcmp(last->text + last->len - p.prefix_len, p.prefix, p.prefix_len) == 0,
              "%s %s: the prompt does not end with what it begins of the answer", form, id);
    cr_expect_eq(strcmp(last->role, "assistant") == 0, p.is_chat && p.prefix_len > 0);
}

Test(prompt, three_real_items_of_every_form_have_the_published_bytes)
{
    json_t *rows = support_json("data/prompt_hashes.json");
    size_t n_forms = 0;

    if (!support_data_dir())
        cr_skip_test("no data folder: set DESBENCH_DATA");
    for (const struct task_def *const *d = task_table(); *d; d++) {
        const struct task_form *f;
        struct task *t;

        if ((*d)->is_bundled)
            continue;
        t = support_open((*d)->name);
        for (size_t i = 0; (f = task_form_get(*d, i)) != NULL; i++, n_forms++) {
            const json_t *row = find_expectation(rows, (*d)->name, f->name), *item, *stop;
            const json_t *items = json_object_get(row, "items");
            size_t k, n_stops = 0;

            cr_expect_geq(json_array_size(items), 3, "%s %s: no three expectations", (*d)->name,
                          f->name);
            cr_expect_eq(json_integer_value(json_object_get(row, "shots")), f->n_shots);
            json_array_foreach(json_object_get(row, "stops"), k, stop)
            {
                if (!f->stops || !f->stops[k] || strcmp(f->stops[k], json_string_value(stop)) != 0)
                    cr_expect(false, "%s %s: stop %zu", (*d)->name, f->name, k);
            }
            while (f->stops && f->stops[n_stops])
                n_stops++;
            cr_expect_eq(n_stops, json_array_size(json_object_get(row, "stops")), "%s %s",
                         (*d)->name, f->name);
            json_array_foreach(items, k, item) check_item(t, f->name, item);
            arena_clear(&arena);
        }
        task_close(t);
    }
    cr_expect_eq(n_forms, json_array_size(rows), "expectations of forms that there are not");
    json_decref(rows);
    arena_release(&arena);
}

Test(prompt, every_form_is_written_down)
{
    struct buf page = { 0 };
    struct error err = { 0 };
    const struct task_form *f;
    const char *forms;

    cr_assert_eq(
        file_read(support_path("DESBENCH_SOURCE", "docs/grading.md"), 1 << 20, &page, &err), ST_OK,
        "%s", err.text);
    forms = strstr(page.data, "## Prompt forms");
    cr_assert_not_null(forms);
    for (const struct task_def *const *d = task_table(); *d; d++)
        for (size_t i = 0; (f = task_form_get(*d, i)) != NULL; i++) {
            const char *name = arena_printf(&arena, "    %s", f->name);
            const char *key = arena_printf(&arena, ", %s\n", f->name); /* in a line with another */

            cr_expect(strstr(forms, name) || strstr(forms, key), "%s", f->name);
            cr_expect(*f->source, "%s", f->name);
        }
    buf_release(&page);
    arena_release(&arena);
}

Test(prompt, every_task_lists_its_default_and_can_make_every_listed_form)
{
    struct error err = { 0 };
    struct task_prompt p;

    for (const struct task_def *const *d = task_table(); *d; d++) {
        const struct task_form *f;
        const char *dir =
            (*d)->is_bundled ? support_path("DESBENCH_SOURCE", "tasks") : support_data_dir();
        struct task *t;

        cr_expect_str_eq(task_form_get(*d, 0)->name, (*d)->prompt_form, "%s", (*d)->name);
        if (!dir)
            continue;
        cr_assert_eq(task_open(*d, dir, true, &t, &err), ST_OK, "%s", err.text);
        for (size_t k = 0; (f = task_form_get(*d, k)) != NULL; k++) {
            cr_expect_eq(task_form_find(*d, f->name), f);
            cr_expect(!(*d)->is_bundled || f->n_shots == 0, "%s %s", (*d)->name, f->name);
            cr_assert_eq(task_make_prompt(t, 0, f->name, &arena, &p, &err), ST_OK, "%s", err.text);
            cr_expect_str_eq(p.form, f->name);
            cr_expect_eq(p.n_shots, f->n_shots);
            cr_expect_eq(p.is_chat, f->is_chat);
            cr_expect(p.is_chat == (strncmp(f->name, "chat-", 5) == 0), "%s", f->name);
            cr_expect(p.is_chat || (p.n_msgs == 1 && strncmp(f->name, "complete", 8) == 0), "%s",
                      f->name);
            for (size_t i = 0; i < p.n_msgs; i++)
                cr_expect_eq(p.msgs[i].len, strlen(p.msgs[i].text));
        }
        task_close(t);
    }
    arena_release(&arena);
}

Test(prompt, an_unknown_form_names_the_known_ones)
{
    struct task *t = support_open("sample_gsm8k");
    struct error err = { 0 };
    struct task_prompt p;

    cr_expect_eq(task_make_prompt(t, 0, "chat-oc-4shot", &arena, &p, &err), ST_INVALID);
    cr_expect_str_eq(err.text, "task 'sample_gsm8k' has no prompt form 'chat-oc-4shot'; its forms "
                               "are chat-oc-0shot, complete-cot-0shot");
    task_close(t);
    arena_release(&arena);
}

/* A folder with one record of GSM8K and, unless NULL, a fewshot.json. */
static struct task *open_alone(const char *fewshot)
{
    static struct task_def def;
    char dir[] = "/tmp/desbench-prompt-XXXXXX";
    struct error err = { 0 };
    const char *record = "{\"question\":\"1+1?\",\"answer\":\"#### 2\"}\n";
    char path[64];
    struct task *t = NULL;

    cr_assert_not_null(mkdtemp(dir));
    def = *task_find("gsm8k");
    def.data = NULL;
    snprintf(path, sizeof(path), "%s/%s", dir, def.file);
    cr_assert_eq(file_write_atomic(path, record, strlen(record), &err), ST_OK);
    if (fewshot) {
        snprintf(path, sizeof(path), "%s/fewshot.json", dir);
        cr_assert_eq(file_write_atomic(path, fewshot, strlen(fewshot), &err), ST_OK);
    }
    cr_assert_eq(task_open(&def, dir, true, &t, &err), ST_OK, "%s", err.text);
    unlink(path);
    snprintf(path, sizeof(path), "%s/%s", dir, def.file);
    unlink(path);
    rmdir(dir);
    return t;
}

Test(prompt, missing_examples_name_the_file_and_the_forms_without)
{
    struct task *t = open_alone(NULL);
    struct error err = { 0 };
    struct task_prompt p;

    cr_expect_eq(task_make_prompt(t, 0, NULL, &arena, &p, &err), ST_NOT_FOUND);
    cr_expect(strstr(err.text, "/fewshot.json'"), "%s", err.text);
    cr_expect(strstr(err.text, "prompt form 'chat-oc-4shot' of task 'gsm8k' needs it; "
                               "chat-oc-0shot, complete-cot-0shot do not"),
              "%s", err.text);
    cr_expect_eq(task_make_prompt(t, 0, "chat-oc-0shot", &arena, &p, &err), ST_OK);
    task_close(t);
    arena_release(&arena);
}

#define TURN(role) "{\"role\":\"" role "\",\"text\":\"x\"}"

Test(prompt, broken_examples_are_named)
{
    static const struct {
        const char *json, *message;
    } cases[] = {
        { "{", "fewshot.json' line 1: not valid JSON" },
        { "[]", "an object is needed" },
        { "{}",
          "'fewshot.json' has no key 'gsm8k_opencompass_4shot': prompt form 'chat-oc-4shot' of "
          "task 'gsm8k' needs it; chat-oc-0shot, complete-cot-0shot do not" },
        { "{\"gsm8k_opencompass_4shot\":{\"turns\":[]}}", "0 turns, at least 8 are needed" },
        { "{\"gsm8k_opencompass_4shot\":{\"turns\":[" TURN("BOT") "," TURN("BOT") "," TURN("BOT") //
          "," TURN("BOT") "," TURN("BOT") "," TURN("BOT") "," TURN("BOT") "," TURN("BOT") "]}}",
          "turn 0: role 'BOT', 'HUMAN' is needed" },
        { "{\"gsm8k_opencompass_4shot\":{\"turns\":[" TURN("HUMAN") ",1,2,3,4,5,6,7]}}",
          "turn 1: an object is needed" },
        { "{\"gsm8k_opencompass_4shot\":{\"turns\":3}}", "field 'turns'" },
        { "{\"gsm8k_opencompass_4shot\":{}}", "field 'shots' (an array) is missing" },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct task *t = open_alone(cases[i].json);
        struct error err = { 0 };
        struct task_prompt p;

        cr_expect_eq(task_make_prompt(t, 0, NULL, &arena, &p, &err),
                     strstr(cases[i].message, "has no key") ? ST_NOT_FOUND : ST_INVALID);
        cr_expect(strstr(err.text, cases[i].message), "%zu: %s", i, err.text);
        task_close(t);
    }
    arena_release(&arena);
}

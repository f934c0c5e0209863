/* Mutants of references. */
#include "support.h"

#include "tasks/mutant.h"

static struct arena arena;
static struct error err;

/* All mutants of a source, without their fences. */
static struct mutants mutate(const char *source, size_t from, uint64_t seed, size_t n_max)
{
    struct mutants m = { .arena = &arena };

    cr_assert_eq(mutants_of_python(&m, span_of(source), from, "f", seed, n_max, &err), ST_OK, "%s",
                 err.text);
    for (size_t i = 0; i < m.n; i++) {
        static const char head[] = "```python\n", tail[] = "\n```\n";
        size_t len = m.v[i].len - strlen(head) - strlen(tail);

        cr_assert(memcmp(m.v[i].text, head, strlen(head)) == 0);
        cr_assert_str_eq(m.v[i].text + strlen(head) + len, tail);
        m.v[i].text = arena_strdup(&arena, m.v[i].text + strlen(head), len);
        m.v[i].len = len;
    }
    return m;
}

static bool has(const struct mutants *m, const char *name, const char *text)
{
    for (size_t i = 0; i < m->n; i++)
        if (strcmp(m->v[i].name, name) == 0 && strcmp(m->v[i].text, text) == 0)
            return true;
    return false;
}

/* `source` has just these mutants: name, text, name, text, ..., NULL. */
static void expect_just(const char *source, const char *const *expected)
{
    struct mutants m = mutate(source, 0, 1, 1000);
    size_t n = 0;

    for (; expected[2 * n]; n++)
        cr_expect(has(&m, expected[2 * n], expected[2 * n + 1]), "%s: no %s '%s'", source,
                  expected[2 * n], expected[2 * n + 1]);
    cr_expect_eq(m.n, n, "'%s' has %zu mutants, not %zu", source, m.n, n);
    for (size_t i = 0; i < m.n && m.n != n; i++)
        cr_log_warn("%s: %s", m.v[i].name, m.v[i].text);
    arena_clear(&arena);
}

#define JUST(source, ...) expect_just(source, (const char *const[]){ __VA_ARGS__, NULL })
#define NONE(source) expect_just(source, (const char *const[]){ NULL })

Test(mutant, comparisons_are_swapped)
{
    JUST("a < b", "compare", "a <= b");
    JUST("a>=b", "compare", "a>b");
    JUST("a == b", "compare", "a != b");
    JUST("a in b", "compare", "a not in b");
    JUST("a not in b", "logic", "a  in b");
    JUST("a is b", "compare", "a is not b");
    JUST("a is not b", "logic", "a is  b");
    NONE("for a in b: pass");
    JUST("[a for a in b for c in d if a in e]", "compare",
         "[a for a in b for c in d if a not in e]");
}

Test(mutant, arithmetic_is_changed_between_operands_only)
{
    JUST("a + b", "arithmetic", "a - b");
    JUST("a(x)*b", "arithmetic", "a(x)//b");
    JUST("x[0]", "constant", "x[1]");
    JUST("-a", "arithmetic", "+a");
    JUST("a += 'b'", "arithmetic", "a -= 'b'", "string", "a += ''");
    NONE("print(*a, **b)");
    NONE("def g(a, /, *, b): pass");
    NONE("from x import *");
    JUST("return a", "return", "return None");
    JUST("return *a, b", "return", "return None");
}

Test(mutant, constants_and_strings_are_changed)
{
    JUST("x = 0", "constant", "x = 1");
    JUST("x = 99", "constant", "x = 100");
    JUST("x = 1.5", "constant", "x = (1.5 + 1)");
    JUST("x = 0xff", "constant", "x = (0xff + 1)");
    JUST("x = 999999999999999999999", "constant", "x = (999999999999999999999 + 1)");
    JUST("x = ''", "string", "x = 'x'");
    JUST("x = b\"ab\"", "string", "x = b''");
    JUST("x = f'{y+1}'", "string", "x = ''");
    NONE("'''a docstring'''");
    NONE("# x = 1 + 'y'");
    JUST("x = True", "logic", "x = False");
}

Test(mutant, statements_are_changed_as_a_whole)
{
    JUST("if a: pass", "negate", "if not ( a): pass");
    JUST("while x[a:b]:\n  break", "negate", "while not ( x[a:b]):\n  break", "jump",
         "while x[a:b]:\n  pass");
    JUST("if a:\n  pass\nelif b:\n  pass", "negate", "if not ( a):\n  pass\nelif b:\n  pass",
         "negate", "if a:\n  pass\nelif not ( b):\n  pass");
    JUST("x = a if b else c or d", "logic", "x = a if b else c and d");
    NONE("if lambda: a: pass");
    NONE("return\nreturn None");
    JUST("return(a)", "return", "return None");
    JUST("return a; x", "return", "return None; x");
    JUST("return (a,\n  b)  # c\nx", "return", "return None  # c\nx");
    JUST("for i in range(n): pass", "range", "for i in range((n) - 1): pass");
    JUST("range(a, f(b, c), d)", "range", "range(a, (f(b, c)) - 1, d)");
    JUST("range(a, b)", "range", "range(a, (b) - 1)");
    NONE("range(*a)");
    NONE("x.range(a)");
    JUST("min(a, b)", "minmax", "max(a, b)");
    NONE("x.min(a)");
    NONE("any = a");
    JUST("not a", "logic", " a");
}

Test(mutant, those_of_the_tested_function_come_first_and_each_kind_once)
{
    static const char source[] = "def g(x):\n    return x + 1 < 2\n"
                                 "def f(x):\n    if x == 0 or x > 3:\n        return 1 + 2\n"
                                 "    return 3 - x\n"
                                 "y = f(4) * 5\n";
    struct mutants m = mutate(source, 0, 1, 1000);
    size_t n_entry = 0, n_kinds = 0;

    for (size_t i = 0; i < m.n; i++) {
        int line = atoi(strstr(m.v[i].details, "line ") + 5);
        bool is_entry = line >= 3 && line <= 6, is_new = true;

        n_entry += is_entry;
        cr_expect(!is_entry || n_entry == i + 1, "%s", m.v[i].details);
        for (size_t k = 0; k < i; k++)
            is_new = is_new && strcmp(m.v[k].name, m.v[i].name) != 0;
        if (is_new && is_entry)
            cr_expect_eq(n_kinds++, i, "%s", m.v[i].details);
    }
    cr_expect_eq(n_kinds, 6u); /* negate, compare, logic, constant, return, arithmetic */
    cr_expect_eq(n_entry, 13u);
    arena_release(&arena);
}

Test(mutant, fewer_are_the_first_of_more_and_the_seed_decides)
{
    static const char source[] = "def f(x):\n    a = 1 + 2 + 3 + 4 + 5 + 6 + 7 + 8\n";
    struct mutants all = mutate(source, 0, 7, 1000), few = mutate(source, 0, 7, 5),
                   other = mutate(source, 0, 8, 5);
    bool is_same = true;

    cr_expect_eq(all.n, 15u);
    cr_assert(few.n == 5 && other.n == 5);
    for (size_t i = 0; i < 5; i++) {
        cr_expect_str_eq(few.v[i].text, all.v[i].text);
        is_same = is_same && strcmp(few.v[i].text, other.v[i].text) == 0;
    }
    cr_expect(!is_same);
    cr_expect_eq(mutate(source, 22, 7, 1000).n, 13u); /* behind `a = 1 +` */
    cr_expect_eq(mutate(source, 0, 7, 0).n, 0u);
    arena_release(&arena);
}

/* Any bytes at all: no crash, and each mutant differs from its source. */
Test(mutant, broken_source_is_mutated_too)
{
    static const char *const sources[] = {
        "in",    "is",        "not", "return", "range(",   "(((",   "range(,",
        "if",    "if x",      "''",  "1",      "b'",       "async", "def f",
        "else:", "range(a,)", "\\",  "'\\",    "\"\"\"\\", ")]}",   "for in in in"
    };

    for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
        struct mutants m = mutate(sources[i], 0, 1, 100);

        for (size_t k = 0; k < m.n; k++)
            cr_expect_str_neq(m.v[k].text, sources[i]);
        arena_clear(&arena);
    }
    arena_release(&arena);
}

static const struct task_mutant *find(const struct task_mutant *v, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(v[i].name, name) == 0)
            return &v[i];
    return NULL;
}

Test(mutant, stubs_replace_the_tested_function_alone)
{
    struct task *t = support_open("sample_humaneval");
    const struct task_mutant *v, *stub;
    struct extraction x;
    struct task_program p;
    size_t n;

    cr_assert_eq(task_make_mutants(t, 0, 2, &arena, &v, &n, &err), ST_OK, "%s", err.text);
    cr_assert_eq(n, 6u);
    for (size_t i = 0; i < n; i++)
        cr_expect_eq(v[i].kind, i < 4 ? MUTANT_STUB : MUTANT_OPERATOR);
    stub = find(v, n, "return-none");
    cr_assert_not_null(stub);
    cr_assert_eq(task_extract(t, 0, NULL, stub->text, stub->len, &arena, &x, &err), ST_OK);
    cr_expect_str_eq(x.method, "fence");
    cr_assert_eq(task_make_program(t, 0, NULL, &x, &arena, &p, &err), ST_OK);
    cr_expect(strstr(p.code, "(*args, **kwargs):\n    return None\n"), "%s", p.code);
    arena_release(&arena);
    task_close(t);
}

Test(mutant, of_humaneval_pro_only_the_second_function_is_changed)
{
    struct task *t = support_open("sample_humaneval_pro");
    const struct task_mutant *v;
    const char *reference, *new_problem;
    size_t n, len;

    for (size_t i = 0; i < task_n_items(t); i++) {
        new_problem = item_str(&t->items[i], "new_problem").s;
        cr_assert_eq(task_make_reference(t, i, &arena, &reference, &len, &err), ST_OK);
        len = (size_t)(strstr(reference, new_problem) - reference) + strlen(new_problem);
        cr_assert_eq(task_make_mutants(t, i, 100, &arena, &v, &n, &err), ST_OK);
        cr_expect_gt(n, 4u);
        for (size_t k = 0; k < n; k++)
            cr_expect(memcmp(v[k].text, reference, len) == 0, "%s", v[k].details);
        arena_clear(&arena);
    }
    arena_release(&arena);
    task_close(t);
}

/* The real items: some mutant of each, and none that is its reference again. */
Test(mutant, every_real_program_has_mutants)
{
    static const char *const names[] = { "humaneval", "humaneval_pro", "mbpp_all",
                                         "mbpp_sanitized" };

    for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++) {
        struct task *t = support_open(names[k]);

        for (size_t i = 0; i < task_n_items(t); i++) {
            const struct task_mutant *v;
            const char *reference;
            size_t n, len;

            cr_assert_eq(task_make_reference(t, i, &arena, &reference, &len, &err), ST_OK);
            cr_assert_eq(task_make_mutants(t, i, 1000, &arena, &v, &n, &err), ST_OK);
            cr_expect_gt(n, 4u, "%s %zu", names[k], i);
            for (size_t j = 0; j < n; j++)
                cr_expect_str_neq(v[j].text, reference);
            arena_clear(&arena);
        }
        task_close(t);
    }
    arena_release(&arena);
}

static void expect_answer(const char *task, size_t index, const char *name, const char *details,
                          enum mutant_kind kind)
{
    struct task *t = support_open(task);
    const struct task_mutant *v, *m;
    size_t n;

    cr_assert_eq(task_make_mutants(t, index, 0, &arena, &v, &n, &err), ST_OK);
    m = find(v, n, name);
    cr_assert((m != NULL) == (details != NULL), "%s: %s", task, name);
    if (m) {
        cr_expect_str_eq(m->details, details);
        cr_expect_eq(m->kind, kind);
        cr_expect(strstr(m->text, details));
    }
    task_close(t);
    arena_release(&arena);
}

Test(mutant, answers_are_changed_by_construction)
{
    expect_answer("gsm8k", 0, "plus-one", "19", MUTANT_WRONG);
    expect_answer("gsm8k", 0, "sign", "-18", MUTANT_WRONG);
    expect_answer("gsm8k", 0, "next-item", "3", MUTANT_WRONG);
    expect_answer("gsm8k", 2, "groups", "70,000", MUTANT_REWRITE);
    expect_answer("gsm8k", 2, "two-places", "70000.00", MUTANT_REWRITE);
    expect_answer("math500", 0, "dfrac", "\\left( 3, \\dfrac{\\pi}{2} \\right)", MUTANT_REWRITE);
    expect_answer("math500", 0, "first-digit", "\\left( 4, \\frac{\\pi}{2} \\right)", MUTANT_WRONG);
    expect_answer("math500", 0, "plus-one", NULL, MUTANT_WRONG);
    expect_answer("math500", 3, "point-zero", "9.0", MUTANT_REWRITE);
    expect_answer("math500", 3, "first-digit", "0", MUTANT_WRONG);
    expect_answer("math500", 3, "sign", "-9", MUTANT_WRONG);
}

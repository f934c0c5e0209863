/*
 * How often the gate errs, by simulation: simulate_gate DRAWS. Prints a JSON line a scenario and
 * exits 1 where a rate is not what it must be:
 *
 *   - within four standard errors of the exact probability, where pairs are independent;
 *   - a false fail, of a run that loses nothing, not above 1 %, and a false pass, of a run that
 * loses just the margin, not above 5 %: plus four standard errors, plus what the normal
 * approximation of the score test costs at these sizes (SLACK_*, from the exact probabilities).
 *
 * Every draw goes the way of a real gate, through compare_sets(). The seed is fixed.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "results/compare.h"

#define SLACK_FAIL 0.001
#define SLACK_PASS 0.001

struct scenario {
    const char *name;
    int n;        /* items of task "humaneval", or of any task */
    bool has_pro; /* as many of HumanEval Pro beside them, whose fate is their parent's */
    double churn; /* share of items that change without meaning, half of them lost */
    double loss;  /* share of items lost besides */
    double margin;
};

static const struct scenario scenarios[] = {
    { "unchanged", 164, false, 0.02, 0, 0.02 },
    { "unchanged", 164, false, 0.10, 0, 0.02 },
    { "unchanged", 640, false, 0.01, 0, 0.02 },
    { "unchanged", 640, false, 0.05, 0, 0.02 },
    { "unchanged", 2647, false, 0.02, 0, 0.02 },
    { "unchanged", 2647, false, 0.10, 0, 0.02 },
    { "loses the margin", 164, false, 0.02, 0.02, 0.02 },
    { "loses the margin", 640, false, 0.02, 0.02, 0.02 },
    { "loses the margin", 640, false, 0.10, 0.02, 0.02 },
    { "loses the margin", 2647, false, 0.05, 0.02, 0.02 },
    { "loses the margin", 2647, false, 0.05, 0.01, 0.01 },
    { "unchanged, in pairs", 164, true, 0.05, 0, 0.02 },
    { "unchanged, in pairs", 164, true, 0.15, 0, 0.02 },
    { "loses the margin, in pairs", 164, true, 0.05, 0.02, 0.02 },
    { "loses the margin, in pairs", 164, true, 0.15, 0.05, 0.05 },
};

/* The rows of both sides; only verdicts change from draw to draw. */
struct world {
    struct cell_row cells[2];
    const char *keys[2];
    double seconds[2];
    struct answer_row *base, *cand;
    char (*ids)[32];
    struct answer_set sets[2];
    int n;
};

static void world_init(struct world *w, const struct scenario *s)
{
    int n_tasks = s->has_pro ? 2 : 1;

    *w = (struct world){ .keys = { "a", "b" }, .n = s->n * n_tasks };
    w->base = calloc((size_t)w->n, sizeof(*w->base));
    w->cand = calloc((size_t)w->n, sizeof(*w->cand));
    w->ids = calloc((size_t)w->n, sizeof(*w->ids));
    if (!w->base || !w->cand || !w->ids)
        abort();
    for (int t = 0; t < n_tasks; t++)
        w->cells[t].task = t ? "humaneval_pro" : "humaneval";
    for (int i = 0; i < w->n; i++) {
        int t = i / s->n;

        /* ids in the order that sets are sorted by */
        snprintf(w->ids[i], sizeof(w->ids[i]), t ? "%05d" : "HumanEval/%05d", i % s->n);
        w->base[i] = (struct answer_row){ .cell = (size_t)t,
                                          .task = w->cells[t].task,
                                          .task_id = w->ids[i],
                                          .item_sha256 = "i",
                                          .reference_sha256 = "r",
                                          .prompt_sha256 = "p",
                                          .tokens_sha256 = "x",
                                          .verdict = "v",
                                          .checker_version = "c",
                                          .judge_mode = "" };
        w->cand[i] = w->base[i];
        w->cand[i].tokens_sha256 = "y";
    }
    for (int k = 0; k < 2; k++)
        w->sets[k] = (struct answer_set){ .run_id = k ? "cand" : "base",
                                          .cells = w->cells,
                                          .cell_keys = w->keys,
                                          .seconds = w->seconds,
                                          .n_cells = (size_t)n_tasks,
                                          .rows = k ? w->cand : w->base,
                                          .n_rows = (size_t)w->n };
}

static void world_release(struct world *w)
{
    free(w->ids);
    free(w->cand);
    free(w->base);
}

static void draw(struct world *w, const struct scenario *s, struct rng *rng)
{
    double p_loss = s->churn / 2 + s->loss, p_gain = s->churn / 2;

    for (int i = 0; i < s->n; i++) {
        double u = rng_uniform(rng);
        bool is_lost = u < p_loss, is_gained = !is_lost && u < p_loss + p_gain;

        for (int k = i; k < w->n; k += s->n) {
            w->base[k].is_passed = !is_gained;
            w->cand[k].is_passed = !is_lost;
        }
    }
}

/* Is a simulated rate within four standard errors of p, from below only when is_level? */
static bool agrees(double rate, double p, int64_t n, bool is_level)
{
    double error = 4 * sqrt(fmax(p * (1 - p), 1.0 / (double)n) / (double)n);

    return rate <= p + error && (is_level || rate >= p - error);
}

static bool run(const struct scenario *s, int64_t n_draws, struct rng *rng)
{
    const struct compare_options o = { .margin = s->margin };
    struct stats_gate_power exact =
        stats_gate_power(s->n, s->churn / 2 + s->loss, s->churn / 2, s->margin);
    int64_t count[4] = { 0 };
    struct arena arena = { 0 };
    struct world w;
    double fail, pass, n = (double)n_draws;
    bool is_right = true;

    world_init(&w, s);
    for (int64_t i = 0; i < n_draws; i++) {
        struct comparison c;
        struct error err;

        arena_clear(&arena);
        draw(&w, s, rng);
        if (compare_sets(&w.sets[0], &w.sets[1], &o, &arena, &c, &err) != ST_OK) {
            fprintf(stderr, "%s\n", err.text);
            exit(2);
        }
        count[c.outcome]++;
        compare_release(&c);
    }
    world_release(&w);
    arena_release(&arena);
    pass = (double)count[STATS_PASS] / n;
    fail = (double)count[STATS_FAIL] / n;
    if (!s->has_pro)
        is_right =
            agrees(pass, exact.pass, n_draws, false) && agrees(fail, exact.fail, n_draws, false);
    if (s->loss == 0)
        is_right &= agrees(fail, STATS_GATE_FAIL + SLACK_FAIL, n_draws, true);
    else
        is_right &= agrees(pass, STATS_GATE_PASS + SLACK_PASS, n_draws, true);
    printf("{\"scenario\": \"%s\", \"items\": %d, \"churn\": %g, \"loss\": %g, \"margin\": %g, "
           "\"draws\": %lld, \"pass\": %.4f, \"fail\": %.4f, \"undecided\": %.4f",
           s->name, w.n, s->churn, s->loss, s->margin, (long long)n_draws, pass, fail,
           (double)count[STATS_UNDECIDED] / n);
    if (!s->has_pro)
        printf(", \"exact_pass\": %.4f, \"exact_fail\": %.4f", exact.pass, exact.fail);
    printf(", \"stated\": \"%s\", \"ok\": %s}\n",
           s->loss == 0 ? "fail at most 0.01" : "pass at most 0.05", is_right ? "true" : "false");
    return is_right;
}

int main(int argc, char **argv)
{
    int64_t n_draws = argc > 1 ? strtoll(argv[1], NULL, 10) : 10000;
    struct rng rng;
    bool is_right = true;

    if (n_draws < 100)
        return 2;
    rng_seed(&rng, 20261122);
    for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++)
        is_right &= run(&scenarios[i], n_draws, &rng);
    return is_right ? 0 : 1;
}

/* Figures that are maps, a row for each policy: accuracy by task and by level, experts by layer. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "results/report_draw.h"

enum { MAP_LEFT = LEFT + NAME_WIDTH + 4, ROW = 15, MAX_COLUMNS = 256 };

/* Columns of a map: their names stand slanted above it. */
struct map {
    size_t n;
    double left, width; /* of all */
};

static double column_at(const struct map *m, size_t i)
{
    return m->left + m->width * (double)i / (double)m->n;
}

/* A name above the columns from .. to - 1. */
static void put_head(struct figure *f, const struct map *m, size_t from, size_t to, double y,
                     const char *name)
{
    svg_text_slanted(&f->body, (column_at(m, from) + column_at(m, to)) / 2, y, "s", name);
}

/* Narrower, where the slanted name above the last columns, from from on, would leave the figure. */
static void fit_head(struct map *m, size_t from, const char *name)
{
    double middle = ((double)from + (double)m->n) / 2 / (double)m->n,
           room = FIGURE_WIDTH - 4 - 0.8 * SMALL_CHAR * (double)strlen(name) - m->left;

    m->width = fmin(m->width, fmax(room, 100) / middle);
}

/* How high slanted names of so many characters are. */
static double head_height(size_t n_chars)
{
    return 8 + 0.6 * SMALL_CHAR * (double)(n_chars > 30 ? 30 : n_chars);
}

/* share: 0 .. 1, its shade. Words go in where any of so many characters
 * have room; 0: none. */
static void put_field(struct figure *f, const struct map *m, size_t at, double share,
                      size_t n_chars, const char *words, const char *title)
{
    double x = column_at(m, at), w = m->width / (double)m->n;

    svg_rect(&f->body, x, f->height, w > 3 ? w - 1 : w, ROW - 1, "v",
             0.04 + 0.6 * fmin(fmax(share, 0), 1), title);
    if (n_chars && w >= SMALL_CHAR * (double)n_chars)
        svg_text(&f->body, x + (w - 1) / 2, f->height + 10.5, "s", SVG_MIDDLE, words);
}

/* A row's name; the fields are put beside its first line before end_row(). */
static int begin_row(struct figure *f, const struct report_policy *p)
{
    return put_name(f, LEFT, f->height + 10.5, NAME_WIDTH, p->name);
}

static void end_row(struct figure *f, int n_lines)
{
    f->height += ROW + 10 * (n_lines - 1);
}

/* ---- tasks of a group ------------------------------------------------------------------- */

static const struct report_cell *cell_of(const struct report *r, size_t policy, const char *task)
{
    for (size_t i = 0; i < r->n_cells; i++)
        if (r->cells[i].policy == policy &&
            strcmp(report_cell_row(r, &r->cells[i])->task, task) == 0)
            return &r->cells[i];
    return NULL;
}

/* Policies of a group have the same tasks: those of its first one. Returns how many. */
static size_t tasks_of(const struct report *r, const struct report_group *g, const char **ret,
                       size_t max)
{
    size_t n = 0;

    for (size_t i = 0; i < r->n_cells && n < max; i++)
        if (r->cells[i].policy == g->first)
            ret[n++] = report_cell_row(r, &r->cells[i])->task;
    return n;
}

/* ---- accuracy --------------------------------------------------------------------------- */

/* 95 % after Holm. */
static bool is_significant(const struct report_mark *m)
{
    return m->p < 0.05; /* false for NaN */
}

static void put_score(const struct report *r, struct figure *f, const struct map *m, size_t at,
                      const struct report_policy *p, const char *task, const struct report_tally *t,
                      const struct report_mark *mark)
{
    const char *arrow = !is_significant(mark)       ? ""
                        : mark->gained > mark->lost ? "\xe2\x96\xb4"
                                                    : "\xe2\x96\xbe";
    struct label words = label("%.1f", t->score.value * 100);
    struct buf title = { 0 };
    double x = column_at(m, at), w = m->width / (double)m->n;

    buf_printf(&title, "%s, %s: %s %%, n %lld", p->name, task,
               interval_text(&t->score, 100, 1).text, (long long)t->n_items);
    if (!isnan(mark->p))
        buf_printf(&title, "; against vanilla lost %lld, gained %lld, p %.2g",
                   (long long)mark->lost, (long long)mark->gained, mark->p);
    put_field(f, m, at, t->score.value, 0, "", buf_str(&title));
    if (w >= 26)
        svg_text(&f->body, x + (w - 1) / 2 - 3, f->height + 10.5, "s", SVG_MIDDLE, words.text);
    if (*arrow)
        svg_text(&f->body, x + w - 3, f->height + 10.5, "s k", SVG_END, arrow);
    csv_policy(f, r, p);
    csv_text(&f->csv, task);
    csv_int(&f->csv, t->n_items);
    csv_int(&f->csv, t->n_samples);
    csv_int(&f->csv, t->n_passed);
    csv_real(&f->csv, t->score.value);
    csv_real(&f->csv, t->score.low);
    csv_real(&f->csv, t->score.high);
    csv_text(&f->csv, t->score.method);
    if (isnan(mark->p)) {
        csv_text(&f->csv, "");
        csv_text(&f->csv, "");
    } else {
        csv_int(&f->csv, mark->lost);
        csv_int(&f->csv, mark->gained);
    }
    csv_real(&f->csv, mark->p);
    csv_end(&f->csv);
    f->body.is_failed |= !buf_ok(&title);
    buf_release(&title);
}

void draw_accuracy(const struct report *r, struct figure *f)
{
    const char *tasks[MAX_COLUMNS];

    f->id = "accuracy";
    f->title = "Right answers by task and policy";
    f->note =
        "Per cent of items; hover and CSV have intervals of 95 %. \xe2\x96\xbe worse, "
        "\xe2\x96\xb4 better than vanilla with the same decoding: McNemar's exact test on the "
        "same items (answers that depend on each other: score test over the design effect), "
        "Holm over the tasks and policies of a model, and over its policies for all tasks "
        "together, p < 0.05.";
    buf_puts(&f->csv, "model,policy,task,n_items,n_samples,n_passed,score,low,high,method,lost,"
                      "gained,p_holm\n");
    for (size_t g = 0; g < r->n_groups; g++) {
        const struct report_group *group = &r->groups[g];
        size_t n = tasks_of(r, group, tasks, MAX_COLUMNS - 1), n_chars = 3;
        struct map m = { n + (n > 1), MAP_LEFT, RIGHT - MAP_LEFT };

        if (!n)
            continue;
        for (size_t k = 0; k < n; k++)
            n_chars = strlen(tasks[k]) > n_chars ? strlen(tasks[k]) : n_chars;
        fit_head(&m, m.n - 1, n > 1 ? "all" : tasks[0]);
        put_group(f, r, g);
        f->height += head_height(n_chars);
        for (size_t k = 0; k < n; k++)
            put_head(f, &m, k, k + 1, f->height - 3, tasks[k]);
        if (n > 1)
            put_head(f, &m, n, n + 1, f->height - 3, "all");
        for (size_t i = group->first; i < group->first + group->n; i++) {
            const struct report_policy *p = &r->policies[i];
            int n_lines = begin_row(f, p);

            for (size_t k = 0; k < n; k++) {
                const struct report_cell *c = cell_of(r, i, tasks[k]);

                if (c && !isnan(c->t.score.value))
                    put_score(r, f, &m, k, p, tasks[k], &c->t, &c->mark);
            }
            if (n > 1 && !isnan(p->t.score.value))
                put_score(r, f, &m, n, p, "all", &p->t, &p->mark);
            end_row(f, n_lines);
        }
        f->height += 4;
    }
}

/* ---- levels ----------------------------------------------------------------------------- */

/* Columns of a group: levels of its tasks, those that some policy has. */
struct level_columns {
    struct level_column {
        const char *task, *word;
        int level;
    } c[MAX_COLUMNS];
    size_t n;
};

static void find_columns(const struct report *r, size_t group, struct level_columns *ret)
{
    ret->n = 0;
    for (size_t i = 0; i < r->n_classes; i++) {
        const struct report_class *x = &r->classes[i];
        const char *task = r->policies[x->policy].set->cells[x->cell].task;
        size_t k = 0, at = ret->n;
        bool is_known = false;

        if (r->policies[x->policy].group != group || ret->n == MAX_COLUMNS)
            continue;
        for (; k < ret->n && !is_known; k++)
            is_known = strcmp(ret->c[k].task, task) == 0 && ret->c[k].level == x->level;
        if (is_known)
            continue;
        for (k = 0; k < ret->n; k++) { /* before the next higher level of its task */
            if (strcmp(ret->c[k].task, task) != 0)
                continue;
            at = ret->c[k].level > x->level ? k : k + 1;
            if (at == k)
                break;
        }
        memmove(ret->c + at + 1, ret->c + at, (ret->n - at) * sizeof(ret->c[0]));
        ret->c[at] = (struct level_column){ task, r->options.level_name(task), x->level };
        ret->n++;
    }
}

static void put_class(const struct report *r, struct figure *f, const struct map *m, size_t at,
                      const struct level_column *c, const struct report_class *k)
{
    const struct report_policy *p = &r->policies[k->policy];
    struct buf title = { 0 };

    buf_printf(&title, "%s, %s, %s %d: %s %%, n %lld", p->name, c->task, c->word, k->level,
               interval_text(&k->score, 100, 1).text, (long long)k->n_items);
    put_field(f, m, at, k->score.value, 3, label("%.0f", k->score.value * 100).text,
              buf_str(&title));
    csv_policy(f, r, p);
    csv_text(&f->csv, c->task);
    csv_text(&f->csv, c->word);
    csv_int(&f->csv, k->level);
    csv_int(&f->csv, k->n_items);
    csv_real(&f->csv, k->score.value);
    csv_real(&f->csv, k->score.low);
    csv_real(&f->csv, k->score.high);
    csv_text(&f->csv, k->score.method);
    csv_end(&f->csv);
    f->body.is_failed |= !buf_ok(&title);
    buf_release(&title);
}

/* Names of tasks over theirs, numbers of levels over each. */
static void put_level_heads(struct figure *f, const struct map *m, const struct level_columns *c)
{
    size_t n_chars = 0;

    for (size_t k = 0; k < c->n; k++)
        n_chars = strlen(c->c[k].task) > n_chars ? strlen(c->c[k].task) : n_chars;
    f->height += head_height(n_chars) + 9;
    for (size_t k = 0, end; k < c->n; k = end) {
        for (end = k; end < c->n && strcmp(c->c[end].task, c->c[k].task) == 0; end++)
            svg_text(&f->body, (column_at(m, end) + column_at(m, end + 1)) / 2, f->height - 2,
                     "t m", SVG_MIDDLE, label("%d", c->c[end].level).text);
        put_head(f, m, k, end, f->height - 12, c->c[k].task);
    }
}

void draw_levels(const struct report *r, struct figure *f)
{
    f->id = "levels";
    f->title = "Right answers by difficulty";
    f->note = "Per cent of the items of each level of a task (mini suites: depth of composition; "
              "MATH500: level), where its items have one. Hover and CSV have intervals.";
    buf_puts(&f->csv, "model,policy,task,class,level,n_items,score,low,high,method\n");
    for (size_t g = 0; g < r->n_groups; g++) {
        struct level_columns c;
        struct map m = { 0, MAP_LEFT, RIGHT - MAP_LEFT };

        find_columns(r, g, &c);
        m.n = c.n;
        if (!c.n)
            continue;
        for (size_t k = c.n; k-- > 0;)
            if (!k || strcmp(c.c[k - 1].task, c.c[c.n - 1].task) != 0) {
                fit_head(&m, k, c.c[k].task);
                break;
            }
        put_group(f, r, g);
        put_level_heads(f, &m, &c);
        for (size_t i = r->groups[g].first; i < r->groups[g].first + r->groups[g].n; i++) {
            int n_lines = begin_row(f, &r->policies[i]);

            for (size_t j = 0; j < r->n_classes; j++) {
                const struct report_class *k = &r->classes[j];

                for (size_t at = 0; at < c.n && k->policy == i; at++)
                    if (c.c[at].level == k->level &&
                        strcmp(c.c[at].task, r->policies[i].set->cells[k->cell].task) == 0)
                        put_class(r, f, &m, at, &c.c[at], k);
            }
            end_row(f, n_lines);
        }
        f->height += 4;
    }
}

/* ---- layers ----------------------------------------------------------------------------- */

/* A policy's layers, its tasks together: (*ret_n) in the arena; NULL: out of memory. */
static struct layer_use *layers_of(const struct report_policy *p, struct arena *arena,
                                   size_t *ret_n)
{
    const struct forward_facts *facts = &p->source->forwards;
    struct layer_use *sums;
    size_t n = 0;

    for (size_t i = 0; i < facts->n_layers; i++)
        if (is_cell_of(p, facts->layers[i].cell_key) && (size_t)facts->layers[i].layer >= n)
            n = (size_t)facts->layers[i].layer + 1;
    *ret_n = n;
    sums = arena_array(arena, n, sizeof(*sums));
    for (size_t i = 0; i < facts->n_layers && sums; i++) {
        const struct layer_use *l = &facts->layers[i];
        struct layer_use *to;

        if (!is_cell_of(p, l->cell_key))
            continue;
        to = &sums[l->layer];
        to->n_forwards += l->n_forwards;
        to->n_unique += l->n_unique;
        to->n_rerouted += l->n_rerouted;
        to->n_lost_top1 += l->n_lost_top1;
        to->kept_mass += l->kept_mass * (double)l->n_forwards;
    }
    return sums;
}

static void put_layers(const struct report *r, struct figure *f, const struct report_policy *p,
                       const struct layer_use *sums, size_t n)
{
    struct map m = { n, MAP_LEFT, RIGHT - MAP_LEFT };
    struct buf words = { 0 };
    int n_lines = begin_row(f, p);

    for (size_t k = 0; k < n; k++) {
        double forwards = (double)sums[k].n_forwards, u = (double)sums[k].n_unique / forwards;

        if (!sums[k].n_forwards)
            continue;
        put_field(f, &m, k, u / (double)p->set->cells[0].n_exp, 4, label("%.1f", u).text,
                  tip(&words, p->name, label("layer %zu, U %.2f", k, u).text));
        csv_policy(f, r, p);
        csv_int(&f->csv, (int64_t)k);
        csv_int(&f->csv, sums[k].n_forwards);
        csv_real(&f->csv, u);
        csv_real(&f->csv, (double)sums[k].n_rerouted / forwards);
        csv_real(&f->csv, (double)sums[k].n_lost_top1 / forwards);
        csv_real(&f->csv, sums[k].kept_mass / forwards);
        csv_end(&f->csv);
    }
    end_row(f, n_lines);
    f->body.is_failed |= !buf_ok(&words);
    buf_release(&words);
}

enum status draw_layers(const struct report *r, struct figure *f, struct arena *arena,
                        struct error *err)
{
    size_t group = SIZE_MAX;

    f->id = "layers";
    f->title = "Unique experts by layer";
    f->note = "Mean over forwards of the distinct routed experts that a forward reads, all tasks "
              "together; left: the first layer that has experts. Shade: share of the layer's "
              "experts.";
    buf_puts(&f->csv, "model,policy,layer,n_forwards,unique,rerouted_per_forward,"
                      "lost_top1_per_forward,kept_mass\n");
    for (size_t i = 0; i < r->n_policies; i++) {
        const struct report_policy *p = &r->policies[i];
        size_t n = 0;
        const struct layer_use *sums = layers_of(p, arena, &n);

        if (!sums)
            return error_set(err, ST_NOMEM, "out of memory drawing a report");
        if (!n || p->set->cells[0].n_exp <= 0)
            continue;
        if (group != p->group) {
            group = p->group;
            put_heading(f, label("%.90s: of %lld experts", r->groups[group].title,
                                 (long long)p->set->cells[0].n_exp)
                               .text);
        }
        put_layers(r, f, p, sums, n);
    }
    return ST_OK;
}

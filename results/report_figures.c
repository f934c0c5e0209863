/*
 * The figures of a report. All are FIGURE_WIDTH units wide, which a phone shows at about its own
 * size, and as high as they need to be.
 */
#include "results/report_draw.h"

const char figure_style[] =
    "svg{font-family:system-ui,sans-serif;color-scheme:light dark}"
    ".bg{fill:#fff}text{fill:#1c1c1e;font-size:11px}.m{fill:#62626a}.n{fill:#fff;font-size:7.5px;"
    "font-weight:600}.s{font-size:9px}.t{font-size:7px}.k{font-size:8px;font-weight:700}"
    ".h{font-weight:600}line{stroke:#8a8a92;stroke-width:1}line.g{stroke:#e3e3e8}"
    "line.w{stroke:#1c1c1e;stroke-width:1.1}line.e{stroke:#1c1c1e;stroke-opacity:.3}"
    "line.f{stroke:#62626a;stroke-dasharray:3 2}.v{fill:#2f6fb3}.j{fill:#8a8a92}"
    ".o{fill-opacity:.4}.d{stroke:#fff;stroke-width:.8}"
    ".c0{fill:#0067ad}.c1{fill:#b84e00}.c2{fill:#00785a}.c3{fill:#a0407c}.c4{fill:#7a5c00}"
    ".c5{fill:#00788f}.c6{fill:#5b4bb0}.c7{fill:#6b6b6b}.c8{fill:#b3261e}.c9{fill:#1c1c1e}"
    "line.l0{stroke:#0067ad}line.l1{stroke:#b84e00}line.l2{stroke:#00785a}line.l3{stroke:#a0407c}"
    "line.l4{stroke:#7a5c00}line.l5{stroke:#00788f}line.l6{stroke:#5b4bb0}line.l7{stroke:#6b6b6b}"
    "line.l8{stroke:#b3261e}line.l9{stroke:#1c1c1e}"
    "@media(prefers-color-scheme:dark){.bg{fill:#161618}text{fill:#ececf0}.m{fill:#a2a2aa}"
    ".n{fill:#101012}line{stroke:#7d7d85}line.g{stroke:#303036}line.w{stroke:#ececf0}"
    "line.e{stroke:#ececf0}line.f{stroke:#a2a2aa}.v{fill:#5b9be0}.d{stroke:#161618}"
    ".c0{fill:#56a8ec}.c1{fill:#f0924a}.c2{fill:#3cc79d}.c3{fill:#e089be}.c4{fill:#d9b440}"
    ".c5{fill:#5fc9dd}.c6{fill:#a99bf0}.c7{fill:#b0b0b0}.c8{fill:#ff8a80}.c9{fill:#ececf0}"
    "line.l0{stroke:#56a8ec}line.l1{stroke:#f0924a}line.l2{stroke:#3cc79d}line.l3{stroke:#e089be}"
    "line.l4{stroke:#d9b440}line.l5{stroke:#5fc9dd}line.l6{stroke:#a99bf0}line.l7{stroke:#b0b0b0}"
    "line.l8{stroke:#ff8a80}line.l9{stroke:#ececf0}}";

void figures_release(struct figure *f, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        buf_release(&f[i].body);
        buf_release(&f[i].csv);
    }
}

enum status report_draw(struct report *r, struct figure **ret, size_t *ret_n, struct error *err)
{
    enum { N_OTHERS = 12 };
    size_t n_most = r->n_groups * N_COSTS + r->n_rooflines + N_OTHERS, n = 0, n_kept = 0;
    struct figure *f = arena_array(&r->arena, n_most, sizeof(*f));
    enum status st = f ? ST_OK : error_set(err, ST_NOMEM, "out of memory drawing a report");

    for (int c = 0; c < N_COSTS && !st; c++)
        for (size_t g = 0; g < r->n_groups && !st; g++)
            st = draw_pareto(r, g, (enum report_cost)c, &f[n++], &r->arena, err);
    if (!st) {
        draw_accuracy(r, &f[n++]);
        draw_levels(r, &f[n++]);
        st = draw_latency(r, &f[n++], err);
    }
    if (!st)
        st = draw_blocks(r, &f[n++], err);
    if (!st)
        st = draw_batches(r, &f[n++], err);
    if (!st) {
        draw_forwards(r, &f[n++]);
        st = draw_commits(r, &f[n++], &r->arena, err);
    }
    if (!st) {
        draw_bytes(r, &f[n++]);
        draw_seconds(r, &f[n++]);
        draw_kernels(r, &f[n++]);
        draw_energy(r, &f[n++]);
        st = draw_layers(r, &f[n++], &r->arena, err);
    }
    for (size_t i = 0; i < r->n_rooflines && !st; i++)
        st = draw_roofline(r, i, &f[n++], &r->arena, err);
    for (size_t i = 0; i < n; i++) {
        if (!buf_ok(&f[i].body) || !buf_ok(&f[i].csv))
            st = st ? st : error_set(err, ST_NOMEM, "out of memory drawing a report");
        if (f[i].height > 0)
            f[n_kept++] = f[i];
        else
            figures_release(&f[i], 1);
    }
    if (st) {
        figures_release(f, n_kept);
        return st;
    }
    *ret = f;
    *ret_n = n_kept;
    return ST_OK;
}

/* Expert selectors as other folders see them: texts and listings of engine/engine.h. */
#include <string.h>

#include "base/file.h"
#include "engine/selector.h"

static enum status text_result(const struct buf *b, struct error *err)
{
    return buf_ok(b) ? ST_OK : error_set(err, ST_NOMEM, "out of memory");
}

/* With a file, what it holds is named too; a text that names it already must be right. sha256 has
 * room for it. */
static enum status parse_with_file(const char *selector, struct selector *ret,
                                   char sha256[SHA256_HEX_SIZE], struct error *err)
{
    struct buf path = { 0 };
    enum status st = selector_parse(selector, ret, err);

    if (st || !ret->file)
        return st;
    buf_append(&path, ret->file, ret->file_len);
    st = buf_ok(&path) ? sha256_file(buf_str(&path), sha256, err) : text_result(&path, err);
    if (!st && ret->file_sha256 && memcmp(ret->file_sha256, sha256, SELECTOR_SHA_LEN) != 0)
        st =
            error_set(err, ST_MISMATCH, "'%s' has changed: its SHA-256 is %.*s, not %.*s",
                      buf_str(&path), SELECTOR_SHA_LEN, sha256, SELECTOR_SHA_LEN, ret->file_sha256);
    ret->file_sha256 = sha256;
    buf_release(&path);
    return st;
}

enum status engine_selector_text(const char *selector, struct buf *ret, struct error *err)
{
    char sha256[SHA256_HEX_SIZE];
    struct selector s;
    enum status st = parse_with_file(selector, &s, sha256, err);

    if (st)
        return st;
    selector_put(&s, ret);
    return text_result(ret, err);
}

enum status engine_selector_settings(const char *selector, struct buf *ret, struct error *err)
{
    char sha256[SHA256_HEX_SIZE];
    struct selector s;
    enum status st = parse_with_file(selector, &s, sha256, err);

    if (st)
        return st;
    selector_put_settings(&s, ret);
    return text_result(ret, err);
}

enum status engine_selector_budget(const char *selector, struct buf *ret, struct error *err)
{
    struct selector s;
    enum status st = selector_parse(selector, &s, err);

    if (st)
        return st;
    selector_put_budget(&s, ret);
    return text_result(ret, err);
}

bool engine_selector_get(size_t i, struct engine_selector *ret, struct buf *settings)
{
    size_t n = 0;

    while (selector_policies[n].name)
        n++;
    if (i < n) {
        const struct selector_policy *p = &selector_policies[i];

        selector_put_row(p, settings);
        *ret = (struct engine_selector){ p->name, NULL, p->help, p->source, p->open };
        return true;
    }
    if (!selector_aliases[i - n].name) /* the callers stop there */
        return false;
    *ret = (struct engine_selector){ .name = selector_aliases[i - n].name,
                                     .alias_of = selector_aliases[i - n].of };
    return true;
}

bool engine_selector_field_get(size_t i, struct engine_selector_field *ret, struct buf *values)
{
    const struct selector_field_row *f = &selector_fields[i];

    if (i >= N_SELECTOR_FIELDS)
        return false;
    switch (f->kind) {
    case FIELD_INT:
        buf_printf(values, "%.0f..%.0f%s%s%s%s", f->min, f->max, f->zero ? "|" : "",
                   f->zero ? f->zero : "", f->full ? "|" : "", f->full ? f->full : "");
        break;
    case FIELD_NUMBER: buf_printf(values, "%g..%g", f->min, f->max); break;
    case FIELD_WORD: buf_puts(values, f->words); break;
    case FIELD_TEXT: buf_puts(values, "a path"); break;
    }
    *ret = (struct engine_selector_field){ f->name, f->help, f->read_with };
    return true;
}

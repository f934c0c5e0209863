/* What verbs share. */
#include "harness/verb.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "harness/listing.h"

bool verb_wants_json(const struct options *c)
{
    return print_form_of(c) == PRINT_JSON;
}

enum status verb_print(const struct buf *text, struct error *err)
{
    if (!buf_ok(text))
        return error_set(err, ST_NOMEM, "out of memory making the output");
    if (fwrite(buf_str(text), 1, text->len, stdout) != text->len || fflush(stdout) != 0)
        return error_set(err, ST_IO, "cannot write the output: %s", strerror(errno));
    return ST_OK;
}

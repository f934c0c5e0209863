/* Listings, in each form. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness/listing.h"

static char *const forms[] = { "--format=text", "--format=json", "--format=markdown",
                               "--format=csv" };

/* What the listing of two rows prints; the caller's to free. Standard output is TAP's: it is a file
 * meanwhile. */
static char *print(char *form, const char *columns, bool is_empty)
{
    char *argv[] = { form }, *text = calloc(1, 4096);
    FILE *f = tmpfile();
    int out = dup(STDOUT_FILENO);
    struct options c = { 0 };
    struct error err = { 0 };
    struct listing l;

    cr_assert(text && f && out >= 0);
    cr_assert_eq(options_parse(VERB_LS, 1, argv, &c, &err), ST_OK, "%s", err.text);
    listing_start(&l, &c, columns);
    for (int i = 0; i < 2 && !is_empty; i++) {
        listing_row(&l);
        listing_cell(&l, i ? NULL : "a|b, \"c\"");
        listing_number(&l, i);
        listing_real(&l, i ? NAN : 1.0 / 3, 2);
        listing_interval(&l, i ? NAN : 0.25, i ? NAN : 0.5, 3);
        listing_number(&l, 7 + i);
    }
    listing_note(&l, "two rows");
    fflush(stdout);
    dup2(fileno(f), STDOUT_FILENO);
    cr_expect_eq(listing_end(&l, ST_OK, &err), ST_OK, "%s", err.text);
    dup2(out, STDOUT_FILENO);
    close(out);
    rewind(f);
    cr_assert_lt(fread(text, 1, 4096, f), 4096);
    fclose(f);
    options_release(&c);
    return text;
}

static void expect(char *form, const char *text)
{
    char *found = print(form, "name|>n|>x=a third|>ci=95 %|->more", false);

    cr_expect_str_eq(found, text);
    free(found);
}

Test(listing, a_table_has_titles_and_rounded_numbers)
{
    expect(forms[0], "name      n  a third         95 %\n"
                     "a|b, \"c\"  0     0.33  0.250-0.500\n"
                     "          1        -            -\n\ntwo rows\n");
}

Test(listing, json_has_keys_and_whole_numbers_and_null_where_there_is_nothing)
{
    expect(forms[1], "[\n {\"name\": \"a|b, \\\"c\\\"\", \"n\": 0, \"x\": 0.3333333333333333, "
                     "\"ci_low\": 0.25, \"ci_high\": 0.5, \"more\": 7},\n"
                     " {\"name\": null, \"n\": 1, \"x\": null, \"ci_low\": null, "
                     "\"ci_high\": null, \"more\": 8}\n]\n");
}

Test(listing, markdown_escapes_what_would_end_a_cell)
{
    expect(forms[2], "| name | n | a third | 95 % |\n| --- | ---: | ---: | ---: |\n"
                     "| a\\|b, \"c\" | 0 | 0.33 | 0.250-0.500 |\n|  | 1 | - | - |\n\ntwo rows\n");
}

Test(listing, csv_has_keys_quotes_and_empty_fields)
{
    expect(forms[3], "name,n,x,ci_low,ci_high,more\n"
                     "\"a|b, \"\"c\"\"\",0,0.3333333333333333,0.25,0.5,7\n,1,,,,8\n");
}

Test(listing, of_nothing_json_is_still_an_array)
{
    char *found = print(forms[1], "name|>n|>x|>ci|->more", true);

    cr_expect_str_eq(found, "[]\n");
    free(found);
}

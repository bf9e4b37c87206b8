/* The error table of err.h, turned into look-ups. Lookups are linear: errors are rare and the table is short. */
#include "lib/err.h"

#include "lib/cleanup.h"

static const struct err_row {
    int code;
    enum err_class class;
    const char *name, *text;
} rows[] = {
#define ERR_ROW(name, value, class, text) {value, ERR_CLASS_##class, #name, text},
    ERR_TABLE(ERR_ROW)
#undef ERR_ROW
};

static const struct err_row *find(int code)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].code == code) return &rows[i];
    return NULL;
}

enum err_class err_class(int code)
{
    if (code == 0) return ERR_CLASS_NONE;
    const struct err_row *row = find(code);
    return row ? row->class : ERR_CLASS_FATAL;
}

const char *err_name(int code)
{
    if (code == 0) return "OK";
    const struct err_row *row = find(code);
    return row ? row->name + 4 : "UNLISTED";
}

const char *err_text(int code)
{
    if (code == 0) return "no error";
    const struct err_row *row = find(code);
    return row ? row->text : "error code without a text";
}

const char *err_class_name(enum err_class c)
{
    static const char *const names[] = {"none", "retriable", "unknown", "permanent", "fatal"};
    return (unsigned)c < ARRAY_LEN(names) ? names[c] : "fatal";
}

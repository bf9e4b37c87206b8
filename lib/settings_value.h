/* One value of the settings table: from text into its field, checked against its row. Used by lib/settings.c only. */
#ifndef KEYROLL_SETTINGS_VALUE_H
#define KEYROLL_SETTINGS_VALUE_H

#include "lib/settings.h"

#define SETTINGS_WHY_MAX 200

/* Parses text and replaces the row's field in target (what it owned is freed). home: for ~/ in paths, may be NULL.
 * ERR_INVALID: why says what is wrong and what to write, without the value itself. ERR_NOMEM. The field is then
 * unchanged. */
MUST_CHECK int settings_value_set(const struct setting *row, void *target, const char *text, const char *home,
                                  char why[SETTINGS_WHY_MAX]);
/* Frees what the field owns and sets it to nothing. */
void settings_value_done(const struct setting *row, void *target);
/* Appends the field as it would be written in a settings file; nothing for a secret and for what is unset. */
void settings_value_write(const struct setting *row, const void *target, struct buf *out);
/* "duration", "list", ... for the texts. */
const char *settings_type_name(enum setting_type type);
/* Appends the range of a row, "1s..10m", in its own unit; nothing when it has none. */
void settings_value_range(const struct setting *row, struct buf *out);

#endif

/* Reads small files that hold a secret: keys, passwords, tokens, addresses with a token in them. */
#ifndef KEYROLL_SECRET_FILE_H
#define KEYROLL_SECRET_FILE_H

#include "lib/buf.h"

#include <sys/stat.h>

/* Appends the whole file to out, which was made by buf_init_secret() with the most bytes that are allowed. Blocking,
 * for local files; no other copy of the bytes stays in memory. ret_state: what was opened, for checks of its kind and
 * mode; filled whenever the file could be opened. May be NULL. Errors: ERR_NOT_FOUND; ERR_IO (there but not readable);
 * both with errno; ERR_TOO_LARGE; ERR_NOMEM. */
MUST_CHECK int secret_file_read(const char *path, struct buf *out, struct stat *ret_state);

#endif

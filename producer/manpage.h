/* keyroll(1), made from the table of commands, so that the page cannot miss one. */
#ifndef KEYROLL_MANPAGE_H
#define KEYROLL_MANPAGE_H

#include "lib/buf.h"
#include "producer/command.h"

/* Appends the page as man(7) source. Errors are sticky in out. */
void manpage_write(const struct command *commands, size_t n, struct buf *out);

#endif

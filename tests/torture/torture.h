/* Lets the n-th allocation of our own libraries, and of jansson and expat behind them, fail. One thread. */
#ifndef KEYROLL_TORTURE_H
#define KEYROLL_TORTURE_H

#include <stdbool.h>
#include <stddef.h>

/* From now on the nth allocation fails, and only that one; 0: none does. */
void torture_arm(size_t nth);
/* Ends it. True: the nth was reached. */
bool torture_disarm(void);

#endif

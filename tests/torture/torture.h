/* Lets the n-th allocation of our own libraries, and of jansson and expat behind them, fail. One thread. */
#ifndef KEYROLL_TORTURE_H
#define KEYROLL_TORTURE_H

#include <stdbool.h>
#include <stddef.h>

/* From now on the nth allocation fails, and only that one; 0: none does. */
void torture_arm(size_t nth);
/* The same for that many allocations from the nth on: memory is short for a while. */
void torture_arm_many(size_t nth, size_t most);
/* Allocations counted since it was armed. */
size_t torture_count(void);
/* Until it is taken back nothing is counted or refused. Not nested. */
void torture_pause(bool paused);
/* Ends it. True: the nth was reached. */
bool torture_disarm(void);

#endif

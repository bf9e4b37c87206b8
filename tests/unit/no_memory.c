/* Loaded into a program before libc (LD_PRELOAD): its own code, not its libraries', finds no memory for a copy of the
 * text in KEYROLL_NO_MEMORY_FOR. */
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

char *strdup(const char *s)
{
    const char *refused = getenv("KEYROLL_NO_MEMORY_FOR");
    Dl_info caller, program;
    if (refused && strcmp(refused, s) == 0 && dladdr(__builtin_return_address(0), &caller) != 0 &&
        dladdr((void *)getauxval(AT_ENTRY), &program) != 0 && caller.dli_fbase == program.dli_fbase) {
        errno = ENOMEM;
        return NULL;
    }
    size_t size = strlen(s) + 1;
    char *copy = malloc(size);
    return copy ? memcpy(copy, s, size) : NULL;
}

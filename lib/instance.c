/* Names of the instance's calls and of the ways of proof, for logs, events and tables. The calls themselves:
 * lib/synergist.c. */
#include "lib/instance.h"

#include "lib/cleanup.h"

const char *instance_op_name(enum instance_op op)
{
    static const char *const names[] = {"read key", "write key", "test", "version"};
    return (size_t)op < ARRAY_LEN(names) ? names[op] : "unknown";
}

const char *instance_proof_name(enum instance_proof p)
{
    static const char *const names[] = {"none", "read back", "presigned URL", "instance test"};
    return (size_t)p < ARRAY_LEN(names) ? names[p] : "unknown";
}

/* The minor version that this build writes into messages, records, journals and states. What is published has none
 * ("keyroll.job/1"). With the CMake option KEYROLL_SCHEMA_MINOR_SHIFT=N a build stands for the Nth minor version after
 * it: it writes "keyroll.job/1.N" and a member that nobody else knows, so that rolling upgrades to it, and back from
 * it, can be tested (tests/integration/test_upgrade.py). */
#ifndef KEYROLL_MINOR_H
#define KEYROLL_MINOR_H

#ifndef KEYROLL_SCHEMA_MINOR_SHIFT
#define KEYROLL_SCHEMA_MINOR_SHIFT 0
#endif

#if KEYROLL_SCHEMA_MINOR_SHIFT > 0
#define SCHEMA_MINOR_QUOTE(n) #n
#define SCHEMA_MINOR_TEXT(n)  SCHEMA_MINOR_QUOTE(n)
#define SCHEMA_MINOR          "." SCHEMA_MINOR_TEXT(KEYROLL_SCHEMA_MINOR_SHIFT) /* behind NAME/1 */
#define SCHEMA_MINOR_NEW      "unknown to others"                               /* value of the member "new_in_minor" */
#define SCHEMA_MINOR_MEMBER   ",\"new_in_minor\":\"" SCHEMA_MINOR_NEW "\""
#else
#define SCHEMA_MINOR        ""
#define SCHEMA_MINOR_NEW    ""
#define SCHEMA_MINOR_MEMBER ""
#endif

#endif

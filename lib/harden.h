/* What every program of ours does first, since it will hold secrets. */
#ifndef KEYROLL_HARDEN_H
#define KEYROLL_HARDEN_H

/* No core dumps (RLIMIT_CORE), no tracing and no reading of memory by others of the same user (PR_SET_DUMPABLE), no TLS
 * session keys for anybody (SSLKEYLOGFILE), standard descriptors open. Best effort: a kernel that refuses changes
 * nothing else. Call it before anything else in main(). */
void harden_process(void);

#endif

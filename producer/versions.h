/* Versions of the libraries at run time. */
#ifndef KEYROLL_VERSIONS_H
#define KEYROLL_VERSIONS_H

#include <jansson.h>

/* A new object, library -> version; NULL when out of memory. */
json_t *versions_json(void);

#endif

/* From settings to the options of our parts (options_use.h). Nothing is read but the escrow key's files. */
#include "schema/options_use.h"

#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/err.h"

#define FILES_MAX 65536

struct aws_creds_options options_aws_creds(const struct options *o, struct http *http)
{
    return (struct aws_creds_options){.clock = &clock_system,
                                      .rng = &rng_system,
                                      .http = http,
                                      .region = o->aws_region,
                                      .sts_endpoint = options_endpoint(o, "sts"),
                                      .profile = o->aws_profile,
                                      .role_template = o->aws_role_template,
                                      .external_id = o->aws_external_id,
                                      .session_name = o->aws_session_name};
}

struct aws_call_options options_aws_call(const struct options *o, struct http *http, struct aws_creds *creds)
{
    return (struct aws_call_options){.clock = &clock_system,
                                     .rng = &rng_system,
                                     .http = http,
                                     .creds = creds,
                                     .region = o->aws_region,
                                     .partition = o->aws_partition,
                                     .endpoint = o->aws_endpoint,
                                     .endpoint_iam = o->aws_endpoint_iam,
                                     .endpoint_sts = o->aws_endpoint_sts,
                                     .endpoint_s3 = o->aws_endpoint_s3,
                                     .s3_path_style = options_s3_path_style(o),
                                     .role_template = o->aws_role_template,
                                     .external_id = o->aws_external_id,
                                     .session_name = o->aws_session_name,
                                     .calls_per_s = o->iam_calls_per_s};
}

int options_escrow(const struct options *o, struct escrow **ret_escrow, char **ret_reason)
{
    AUTO_BUF struct buf files;
    const struct settings_list *list = &o->escrow_key_file;
    buf_init(&files, FILES_MAX);
    if (list->n == 0) return ERR_NOT_FOUND;
    for (size_t i = 0; i < list->n; i++) (void)buf_addf(&files, "%s%s", i ? "," : "", list->items[i]);
    return files.error ? files.error : escrow_load(buf_str(&files), ret_escrow, ret_reason);
}

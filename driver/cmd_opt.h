/* `tricot opt`: graph passes on IR text. argv[0] is the command's name; returns an exit status of
 * runtime/base/fault.h. */
#ifndef TRICOT_DRIVER_CMD_OPT_H
#define TRICOT_DRIVER_CMD_OPT_H
int cmd_opt(int argc, char **argv);
#endif

// SPDX-License-Identifier: MIT
/* sinkctl, the program. Everything else is in objects that the tests link as well. */
#include "sinkctl.h"

int main(int argc, char **argv)
{
	return sinkctl_main(argc, argv);
}

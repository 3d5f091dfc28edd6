#include "trace/trace-hw_kvsink.h"

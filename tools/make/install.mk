# SPDX-License-Identifier: MIT
#
# For people with a machine of their own: make && make install [PREFIX=/usr/local] [DESTDIR=...], and
# make modules_install for the driver (against the running kernel, or KREL=...).

PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INSTALL ?= install

.PHONY: install modules_install
install: programs
	$(INSTALL) -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(PREFIX)/include/kvsink \
		$(DESTDIR)$(PREFIX)/share/man/man1
	$(INSTALL) $(B)/bin/sinkctl $(DESTDIR)$(PREFIX)/bin
	$(INSTALL) -m 644 tools/sinkctl/sinkctl.1 $(DESTDIR)$(PREFIX)/share/man/man1
	$(INSTALL) -m 644 runtime/include/kvsink.h runtime/include/kvsink_policy.h runtime/include/kvsink_replay.h uapi/kvsink_drm.h uapi/kvsink_hw.h $(DESTDIR)$(PREFIX)/include/kvsink
	$(INSTALL) -m 644 $(LIBKVSINK) $(DESTDIR)$(LIBDIR)
	$(INSTALL) $(LIBKVSINK_SO).$(LIBKVSINK_SO_VERSION) $(DESTDIR)$(LIBDIR)
	ln -sf libkvsink.so.$(LIBKVSINK_SO_VERSION) $(DESTDIR)$(LIBDIR)/libkvsink.so
	sed -e 's|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(LIBDIR)|' runtime/libkvsink.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/libkvsink.pc

modules_install: driver
	$(INSTALL) -d $(DESTDIR)/lib/modules/$(KREL)/updates
	$(INSTALL) -m 644 $(B)/driver/kvsink.ko $(DESTDIR)/lib/modules/$(KREL)/updates
	depmod $(if $(DESTDIR),-b $(DESTDIR)) $(KREL)

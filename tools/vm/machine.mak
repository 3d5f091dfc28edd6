# The devices of the guest that tools/vm runs, one symbol a line. The kvsink device adds its own list
# (qemu-device/shell/kvsink.mak). Every `default y` is off in this build, so what is wanted is named here.
CONFIG_PCI_DEVICES=n
CONFIG_Q35=y
CONFIG_PCIE_PORT=y
CONFIG_VIRTIO_PCI=y
CONFIG_VIRTIO_9P=y
CONFIG_VIRTIO_SERIAL=y
CONFIG_VIRTIO_RNG=y
CONFIG_VIRTIO_BLK=y
CONFIG_VTD=y
CONFIG_TEST_DEVICES=y
CONFIG_EDU=y
CONFIG_ISA_DEBUG=y
CONFIG_WDT_IB6300ESB=y

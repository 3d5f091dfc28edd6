# SPDX-License-Identifier: MIT
# Writes the newc archives that the kernel unpacks as an initramfs.


def member(name, mode, data, inode):
    name = name.encode() + b"\0"
    fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + name
    return pad(head) + pad(data)


def pad(data):
    return data + b"\0" * (-len(data) % 4)


def archive(members):
    """`members`: (name, mode with file type, bytes); folders before what is in them."""
    body = b"".join(member(name, mode, data, inode) for inode, (name, mode, data) in enumerate(members, 1))
    return body + member("TRAILER!!!", 0, b"", 0)

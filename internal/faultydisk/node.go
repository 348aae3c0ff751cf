// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package faultydisk

import (
	"context"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// node is a file or directory of the disk.
type node struct {
	*fs.LoopbackNode
	disk *state
}

func (s *state) wrap(inner fs.InodeEmbedder) *node {
	return &node{LoopbackNode: inner.(*fs.LoopbackNode), disk: s}
}

// WrapChild is called by go-fuse for each file that it makes a node of.
func (n *node) WrapChild(_ context.Context, inner fs.InodeEmbedder) fs.InodeEmbedder {
	return n.disk.wrap(inner)
}

func (n *node) Fsync(ctx context.Context, f fs.FileHandle, flags uint32) syscall.Errno {
	if errno := n.disk.fails(Sync); errno != fs.OK {
		return errno
	}
	return f.(fs.FileFsyncer).Fsync(ctx, flags)
}

func (n *node) Read(ctx context.Context, f fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	if errno := n.disk.fails(Read); errno != fs.OK {
		return nil, errno
	}
	return f.(fs.FileReader).Read(ctx, dest, off)
}

func (n *node) Write(ctx context.Context, f fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	if errno := n.disk.fails(Write); errno != fs.OK {
		return 0, errno
	}
	return f.(fs.FileWriter).Write(ctx, data, off)
}

func (n *node) Writev(ctx context.Context, f fs.FileHandle, data [][]byte, off int64) (uint32, syscall.Errno) {
	if errno := n.disk.fails(Write); errno != fs.OK {
		return 0, errno
	}
	return f.(fs.FileWritever).Writev(ctx, data, off)
}

func (n *node) Allocate(ctx context.Context, f fs.FileHandle, off, size uint64, mode uint32) syscall.Errno {
	if errno := n.disk.fails(Write); errno != fs.OK {
		return errno
	}
	return f.(fs.FileAllocater).Allocate(ctx, off, size, mode)
}

func (n *node) Setattr(ctx context.Context, f fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if errno := n.disk.fails(Change); errno != fs.OK {
		return errno
	}
	return n.LoopbackNode.Setattr(ctx, f, in, out)
}

func (n *node) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	if flags&syscall.O_ACCMODE != syscall.O_RDONLY {
		if errno := n.disk.fails(Change); errno != fs.OK {
			return nil, 0, errno
		}
	}
	f, fuseFlags, errno := n.LoopbackNode.Open(ctx, flags)
	if errno != fs.OK {
		return nil, 0, errno
	}
	return &file{f.(*fs.LoopbackFile)}, fuseFlags, fs.OK
}

func (n *node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	if errno := n.disk.fails(Create); errno != fs.OK {
		return nil, nil, 0, errno
	}
	inode, f, fuseFlags, errno := n.LoopbackNode.Create(ctx, name, flags, mode, out)
	if errno != fs.OK {
		return nil, nil, 0, errno
	}
	return inode, &file{f.(*fs.LoopbackFile)}, fuseFlags, fs.OK
}

func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if errno := n.disk.fails(Create); errno != fs.OK {
		return nil, errno
	}
	return n.LoopbackNode.Mkdir(ctx, name, mode, out)
}

func (n *node) Link(ctx context.Context, target fs.InodeEmbedder, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if errno := n.disk.fails(Change); errno != fs.OK {
		return nil, errno
	}
	return n.LoopbackNode.Link(ctx, target, name, out)
}

func (n *node) Rename(ctx context.Context, name string, parent fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	if errno := n.disk.fails(Change); errno != fs.OK {
		return errno
	}
	return n.LoopbackNode.Rename(ctx, name, parent, newName, flags)
}

func (n *node) Unlink(ctx context.Context, name string) syscall.Errno {
	if errno := n.disk.fails(Change); errno != fs.OK {
		return errno
	}
	return n.LoopbackNode.Unlink(ctx, name)
}

func (n *node) Rmdir(ctx context.Context, name string) syscall.Errno {
	if errno := n.disk.fails(Change); errno != fs.OK {
		return errno
	}
	return n.LoopbackNode.Rmdir(ctx, name)
}

func (n *node) OpendirHandle(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	f, fuseFlags, errno := n.LoopbackNode.OpendirHandle(ctx, flags)
	if errno != fs.OK {
		return nil, 0, errno
	}
	return &directory{f.(openDirectory), n.disk}, fuseFlags, fs.OK
}

// file is an open file.
type file struct{ *fs.LoopbackFile }

// PassthroughFd keeps the kernel from reading and writing the file behind it
// without asking the disk.
func (*file) PassthroughFd() (int, bool) { return 0, false }

type openDirectory interface {
	fs.FileReaddirenter
	fs.FileReleasedirer
	fs.FileSeekdirer
	fs.FileFsyncdirer
}

// directory is an open directory.
type directory struct {
	openDirectory
	disk *state
}

func (d *directory) Fsyncdir(ctx context.Context, flags uint32) syscall.Errno {
	if errno := d.disk.fails(Sync); errno != fs.OK {
		return errno
	}
	return d.openDirectory.Fsyncdir(ctx, flags)
}

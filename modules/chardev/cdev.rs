// SPDX-License-Identifier: GPL-2.0

//! A safe wrapper around the kernel's C interface for character devices (`fs/char_dev.c`, `struct
//! file_operations`). A driver implements [`CharDevice`] for what one minor is, and holds a [`Registration`].
//!
//! All the unsafe code of the operations is here. It rests on these facts:
//!
//! - `chrdev_open` sets `file->f_op` to the table that was registered, which lies inside of an [`Inner`]. So an
//!   operation finds its devices from its file, and no global state is needed.
//! - An open file holds a reference to the table's owner, our module. Neither init's failure nor rmmod drops
//!   a [`Registration`] before the last file is gone, given that registering is the last step of init.

use crate::series::{user_slice, COMPAT_PTR_IOCTL};
use core::marker::{PhantomData, PhantomPinned};
use core::pin::Pin;
use kernel::{
    bindings,
    error::{from_result, to_result},
    ffi::{c_char, c_int, c_long, c_uint, c_ulong},
    prelude::*,
    uaccess::{UserSliceReader, UserSliceWriter},
};

/// Where a write goes.
#[derive(Clone, Copy)]
pub(crate) enum Position {
    /// To this offset in bytes. It may lie beyond the end, or beyond any limit of the device (pwrite).
    At(usize),
    /// To the end, wherever that is by the time of the write (O_APPEND).
    End,
}

/// What one minor does. Operations come from any number of threads at once.
///
/// Offsets are in bytes. An error is what the caller's system call fails with.
pub(crate) trait CharDevice: Send + Sync + 'static {
    /// The furthest position that can be sought; beyond is EINVAL.
    const SEEK_LIMIT: usize;

    /// Called at each open.
    fn open(&self) -> Result {
        Ok(())
    }

    /// Called when the last descriptor of an open is closed.
    fn release(&self) {}

    /// The number of bytes held, which is what SEEK_END counts from.
    fn end(&self) -> usize;

    /// Copies bytes from offset `at` on; returns how many, 0 at the end or beyond.
    fn read(&self, at: usize, out: &mut UserSliceWriter) -> Result<usize>;

    /// Takes bytes; returns how many, and the offset behind the last.
    fn write(&self, at: Position, data: &mut UserSliceReader) -> Result<(usize, usize)>;

    /// A command with its argument: a number, or an address in the caller's memory, which is not to be trusted.
    /// Returns what the system call returns. ENOTTY for an unknown command.
    fn ioctl(&self, command: u32, argument: usize) -> Result<usize>;
}

/// A range of minors that programs can open, until it is dropped.
pub(crate) struct Registration<T: CharDevice> {
    inner: Pin<KBox<Inner<T>>>,
    /// What the kernel gave us, never 0.
    major: c_uint,
}

/// What a file's `f_op` leads to. The kernel keeps pointers to it, so it neither moves nor changes.
struct Inner<T: CharDevice> {
    operations: bindings::file_operations,
    name: &'static CStr,
    /// Indexed by minor.
    devices: KVec<Pin<KBox<T>>>,
    _pin: PhantomPinned,
}

// SAFETY: `operations` holds raw pointers, to functions and to our module, neither of which belongs to a thread;
// everything else is Send and Sync as `CharDevice` demands.
unsafe impl<T: CharDevice> Send for Inner<T> {}
// SAFETY: As above; nothing changes once the devices are registered.
unsafe impl<T: CharDevice> Sync for Inner<T> {}

impl<T: CharDevice> Registration<T> {
    /// Registers `devices` as minors 0 and up of `major`, or of one that the kernel chooses if `major` is 0.
    ///
    /// Programs may call into the devices before this returns. Make it the last step of init that can fail.
    ///
    /// # Errors
    ///
    /// EBUSY: the major is taken, or none is free. EINVAL: it is greater than the kernel's limit, 511. ENOMEM.
    pub(crate) fn new(
        name: &'static CStr,
        owner: &'static ThisModule,
        major: u32,
        devices: KVec<Pin<KBox<T>>>,
    ) -> Result<Self> {
        let count = c_uint::try_from(devices.len())?;
        let inner = Inner {
            operations: Operations::<T>::table(owner),
            name,
            devices,
            _pin: PhantomPinned,
        };
        let inner: Pin<_> = KBox::new(inner, GFP_KERNEL)?.into();
        // SAFETY: Name and table stay where they are, unchanged, until `drop` has unregistered them.
        let got = unsafe {
            bindings::__register_chrdev(major, 0, count, name.as_char_ptr(), &raw const inner.operations)
        };
        to_result(got.min(0))?;
        // 0 means that we got the major that we asked for.
        let major = if major == 0 { got as c_uint } else { major };
        Ok(Self { inner, major })
    }

    /// The major number, chosen or given.
    pub(crate) fn major(&self) -> u32 {
        self.major
    }
}

impl<T: CharDevice> Drop for Registration<T> {
    fn drop(&mut self) {
        let inner = &self.inner;
        // SAFETY: The very range that `new` registered. No file is open on it (see above), and from here on none
        // can be opened, so nothing refers to `inner` when it is freed.
        unsafe {
            bindings::__unregister_chrdev(self.major, 0, inner.devices.len() as c_uint, inner.name.as_char_ptr())
        }
    }
}

/// The C functions of a device type, each a thin coat around one of the trait's.
struct Operations<T>(PhantomData<T>);

impl<T: CharDevice> Operations<T> {
    fn table(owner: &'static ThisModule) -> bindings::file_operations {
        bindings::file_operations {
            owner: owner.as_ptr(),
            open: Some(Self::open),
            release: Some(Self::release),
            llseek: Some(Self::llseek),
            read: Some(Self::read),
            write: Some(Self::write),
            unlocked_ioctl: Some(Self::ioctl),
            // A 32-bit program's pointer is widened, then goes the same way. Our arguments look alike in both.
            compat_ioctl: COMPAT_PTR_IOCTL,
            ..Default::default()
        }
    }

    /// The device that a file is open on.
    ///
    /// # Safety
    ///
    /// `file` was opened by our `open`, and is not released while the result is in use.
    unsafe fn device<'a>(file: *mut bindings::file) -> &'a T {
        // SAFETY: `open` put it there. It lives as long as the registration, which the open file keeps alive.
        unsafe { &*(*file).private_data.cast::<T>() }
    }

    unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: Both are valid during open, and `f_op` is the `operations` of a registered `Inner<T>`, since only
        // such a table has this function in it.
        let (inner, minor) = unsafe {
            let table = (*file).f_op;
            let inner = kernel::container_of!(table, Inner<T>, operations);
            (&*inner, ((*inode).i_rdev & MINOR_MASK) as usize)
        };
        from_result(|| {
            let device = inner.devices.get(minor).ok_or(ENXIO)?;
            device.open()?;
            let device: *const T = &**device;
            // SAFETY: `file` is ours alone until open has succeeded.
            unsafe { (*file).private_data = device.cast_mut().cast() };
            Ok(0)
        })
    }

    unsafe extern "C" fn release(_: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: The file was opened, and is released after this.
        unsafe { Self::device(file) }.release();
        0
    }

    unsafe extern "C" fn llseek(file: *mut bindings::file, offset: i64, whence: c_int) -> i64 {
        // SAFETY: The file was opened.
        let end = unsafe { Self::device(file) }.end();
        // SAFETY: `file` is valid; the kernel's helper guards its position.
        unsafe { bindings::generic_file_llseek_size(file, offset, whence, T::SEEK_LIMIT as i64, end as i64) }
    }

    unsafe extern "C" fn read(file: *mut bindings::file, user: *mut c_char, len: usize, position: *mut i64) -> isize {
        // SAFETY: The file was opened.
        let device = unsafe { Self::device(file) };
        from_result(|| {
            // SAFETY: A file that can seek is always read with a position, which is the caller's own.
            let at = unsafe { &mut *position };
            let start = usize::try_from(*at)?;
            let n = device.read(start, &mut user_slice(user as usize, len).writer())?;
            *at = i64::try_from(start + n)?;
            Ok(n as isize)
        })
    }

    unsafe extern "C" fn write(
        file: *mut bindings::file,
        user: *const c_char,
        len: usize,
        position: *mut i64,
    ) -> isize {
        // SAFETY: The file was opened. Its flags may change by fcntl meanwhile, so they are read once.
        let (device, flags) = unsafe { (Self::device(file), (&raw const (*file).f_flags).read_volatile()) };
        from_result(|| {
            // SAFETY: As in `read`.
            let at = unsafe { &mut *position };
            let to = if flags & bindings::O_APPEND != 0 {
                Position::End
            } else {
                Position::At(usize::try_from(*at)?)
            };
            let (n, end) = device.write(to, &mut user_slice(user as usize, len).reader())?;
            *at = i64::try_from(end)?;
            Ok(n as isize)
        })
    }

    unsafe extern "C" fn ioctl(file: *mut bindings::file, command: c_uint, argument: c_ulong) -> c_long {
        // SAFETY: The file was opened.
        let device = unsafe { Self::device(file) };
        // What a program gets to see is an int.
        let result = from_result(|| Ok(c_int::try_from(device.ioctl(command, argument as usize)?)?));
        result as c_long
    }
}

/// The minor's bits of a `dev_t` (include/linux/kdev_t.h, MINORBITS is 20).
const MINOR_MASK: u32 = (1 << 20) - 1;

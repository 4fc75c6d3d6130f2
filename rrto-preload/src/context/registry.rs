//! Which contexts there are.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{
        LazyLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use foldhash::fast::FixedState;
use rrto_core::api::CuResult;

use super::{
    ContextHandle,
    flags::check_flags,
    stack::{self, FoundAlive},
    storage::{self, Destructor, Storage},
};
use crate::thread;

/// So many contexts may a program have at a time. They cost nothing, but none needs so many.
const CONTEXTS_MAX: usize = 1024;

/// What cuCtxGetApiVersion says of a primary context, and of others made without asking for a version:
/// the interface of CUDA 3.2, which is current.
const API_VERSION: u32 = 3020;

/// The contexts of this process.
pub fn contexts() -> &'static Contexts {
    static CONTEXTS: LazyLock<Contexts> = LazyLock::new(Contexts::new);
    &CONTEXTS
}

/// What cuDevicePrimaryCtxGetState answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PrimaryState {
    /// Flags that the context has, or will have when it is next retained.
    pub flags: u32,
    /// Whether it exists at the moment.
    pub is_active: bool,
}

/// Whether the primary context has just ended, so that the server must free everything in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Ended {
    /// It has: tell the server.
    Yes,
    /// It goes on, or there was none.
    No,
}

/// A setting of a context that the program may read back and nothing acts upon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Preference {
    /// cuCtxGetCacheConfig, cuCtxSetCacheConfig: a `CUfunc_cache`.
    Cache = 0,
    /// cuCtxGetSharedMemConfig, cuCtxSetSharedMemConfig: a `CUsharedconfig`.
    SharedMemory = 1,
}

/// A set of contexts around one primary context. A thread's stack is outside it: stacks hold handles.
pub struct Contexts {
    primary: ContextHandle,
    /// `flags << 1 | is_active` of the primary context, for reading without the lock.
    primary_state: AtomicU64,
    /// Rises, under the lock, with every change that could make something that a thread remembers untrue.
    epoch: AtomicU64,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    primary_retains: u32,
    /// Contexts that exist. The primary one is among them while it is active.
    live: HashMap<ContextHandle, Context, FixedState>,
}

struct Context {
    id: u64,
    flags: u32,
    api_version: u32,
    /// How often cuCtxDetach has still to be called. cuCtxDestroy does not ask.
    attachments: u32,
    /// By `Preference`.
    preferences: [u32; 2],
    storage: Storage,
}

impl Contexts {
    fn new() -> Self {
        Self {
            primary: new_handle(),
            primary_state: AtomicU64::new(0),
            epoch: AtomicU64::new(1),
            state: RwLock::default(),
        }
    }

    // What is current to the calling thread.

    /// The context current to this thread, alive or not; what cuCtxGetCurrent answers.
    #[inline]
    pub fn current(&self) -> Option<ContextHandle> {
        stack::current()
    }

    /// The context current to this thread, for a call that needs one.
    ///
    /// # Errors
    /// INVALID_CONTEXT where there is none, CONTEXT_IS_DESTROYED where it has ended.
    #[inline]
    pub fn require_current(&self) -> Result<ContextHandle, CuResult> {
        self.require(None).map(|(context, _)| context)
    }

    /// Replaces the context current to this thread; with `None`, makes the one below it current.
    ///
    /// # Errors
    /// INVALID_CONTEXT for a handle that is no context's.
    pub fn set_current(&self, context: Option<ContextHandle>) -> Result<(), CuResult> {
        if context.is_some() && context == stack::current() {
            return Ok(());
        }
        context.map_or(Ok(()), |context| self.check_known(context))?;
        stack::set(context)
    }

    /// Pushes a context onto the stack of this thread.
    ///
    /// # Errors
    /// INVALID_CONTEXT for a handle that is no context's.
    pub fn push(&self, context: ContextHandle) -> Result<(), CuResult> {
        self.check_known(context)?;
        stack::push(context)
    }

    /// Pops the context current to this thread.
    ///
    /// # Errors
    /// INVALID_CONTEXT where there is none.
    pub fn pop(&self) -> Result<ContextHandle, CuResult> {
        stack::pop()
    }

    // The primary context.

    /// The primary context's handle, which it keeps over its lives. Does not retain it.
    #[inline]
    pub fn primary(&self) -> ContextHandle {
        self.primary
    }

    /// Whether the primary context is active, and its flags.
    #[inline]
    pub fn primary_state(&self) -> PrimaryState {
        let word = self.primary_state.load(Ordering::Acquire);
        PrimaryState { flags: (word >> 1) as u32, is_active: word & 1 != 0 }
    }

    /// cuDevicePrimaryCtxRetain: makes the primary context if it does not exist.
    ///
    /// # Errors
    /// OUT_OF_MEMORY where it has been retained too often or there are too many contexts.
    pub fn retain_primary(&self) -> Result<ContextHandle, CuResult> {
        let mut state = self.write();
        let retains = state.primary_retains.checked_add(1).ok_or(CuResult::OUT_OF_MEMORY)?;
        let PrimaryState { flags, is_active } = self.primary_state();
        if !is_active {
            state.add(self.primary, flags, API_VERSION)?;
            self.set_primary_state(PrimaryState { flags, is_active: true });
        }
        state.primary_retains = retains;
        self.change(state);
        Ok(self.primary)
    }

    /// cuDevicePrimaryCtxRelease: ends the primary context when it is no longer retained.
    ///
    /// # Errors
    /// INVALID_CONTEXT where it is not retained.
    pub fn release_primary(&self) -> Result<Ended, CuResult> {
        let mut state = self.write();
        state.primary_retains = state.primary_retains.checked_sub(1).ok_or(CuResult::INVALID_CONTEXT)?;
        if state.primary_retains > 0 {
            return Ok(Ended::No);
        }
        Ok(self.end_primary(state))
    }

    /// cuDevicePrimaryCtxReset: ends the primary context, whoever still retains it. They must release it
    /// nevertheless, and the next to retain it makes a new one.
    pub fn reset_primary(&self) -> Ended {
        self.end_primary(self.write())
    }

    /// cuDevicePrimaryCtxSetFlags. Its first form, `refuse_if_active`, leaves an existing context alone.
    ///
    /// # Errors
    /// INVALID_VALUE for flags that do not exist, PRIMARY_CONTEXT_ACTIVE as said.
    pub fn set_primary_flags(&self, flags: u32, refuse_if_active: bool) -> Result<(), CuResult> {
        check_flags(flags)?;
        let mut state = self.write();
        let is_active = self.primary_state().is_active;
        if is_active && refuse_if_active {
            return Err(CuResult::PRIMARY_CONTEXT_ACTIVE);
        }
        if let Some(context) = state.live.get_mut(&self.primary) {
            context.flags = flags;
        }
        self.set_primary_state(PrimaryState { flags, is_active });
        Ok(())
    }

    // Contexts of the program's own.

    /// cuCtxCreate: makes a context and pushes it onto the stack of this thread.
    ///
    /// # Errors
    /// INVALID_VALUE for flags that do not exist, OUT_OF_MEMORY where there are too many.
    pub fn create(&self, flags: u32) -> Result<ContextHandle, CuResult> {
        check_flags(flags)?;
        let context = new_handle();
        let mut state = self.write();
        state.add(context, flags, API_VERSION)?;
        self.change(state);
        // If the stack is full there is a context that nothing refers to, and that costs nothing.
        stack::push(context).map(|()| context)
    }

    /// cuCtxDestroy: ends a context and takes it off the stack of this thread, if it is on top.
    ///
    /// # Errors
    /// INVALID_CONTEXT for a handle that is no context's, or the primary one's.
    pub fn destroy(&self, context: ContextHandle) -> Result<(), CuResult> {
        if context == self.primary {
            return Err(CuResult::INVALID_CONTEXT);
        }
        let mut state = self.write();
        let ended = state.live.remove(&context).ok_or(CuResult::INVALID_CONTEXT)?;
        self.change(state);
        if stack::current() == Some(context) {
            stack::pop()?;
        }
        ended.storage.end(context);
        Ok(())
    }

    /// cuCtxAttach: the current context needs one more cuCtxDetach.
    ///
    /// # Errors
    /// As [`require_current`](Self::require_current).
    pub fn attach(&self) -> Result<ContextHandle, CuResult> {
        let context = self.require_current()?;
        self.alter(context, |context| context.attachments = context.attachments.saturating_add(1))?;
        Ok(context)
    }

    /// cuCtxDetach: ends the context at the last one.
    ///
    /// # Errors
    /// INVALID_CONTEXT for a handle that is no context's, or the primary one's.
    pub fn detach(&self, context: ContextHandle) -> Result<(), CuResult> {
        if context == self.primary {
            return Err(CuResult::INVALID_CONTEXT);
        }
        let left = self.alter(context, |context| {
            context.attachments = context.attachments.saturating_sub(1);
            context.attachments
        })?;
        if left == 0 { self.destroy(context) } else { Ok(()) }
    }

    // What a context has. `None` means the current one; the errors are those of `require_current`, and
    // INVALID_CONTEXT for a handle that is no context's.

    /// cuCtxGetId: a number that no other context of the process has had.
    ///
    /// # Errors
    /// Where there is no such context.
    #[inline]
    pub fn id(&self, context: Option<ContextHandle>) -> Result<u64, CuResult> {
        self.require(context).map(|(_, id)| id)
    }

    /// cuCtxGetFlags.
    ///
    /// # Errors
    /// Where there is no such context.
    pub fn flags(&self, context: Option<ContextHandle>) -> Result<u32, CuResult> {
        match self.look(context, |context| context.flags) {
            // The flags of the primary context outlive it.
            Err(CuResult::CONTEXT_IS_DESTROYED) if self.current() == Some(self.primary) => {
                Ok(self.primary_state().flags)
            }
            looked => looked,
        }
    }

    /// cuCtxGetApiVersion.
    ///
    /// # Errors
    /// Where there is no such context.
    pub fn api_version(&self, context: Option<ContextHandle>) -> Result<u32, CuResult> {
        self.look(context, |context| context.api_version)
    }

    /// What was last set; zero, CUDA's default, before that.
    ///
    /// # Errors
    /// Where there is no current context.
    pub fn preference(&self, preference: Preference) -> Result<u32, CuResult> {
        self.look(None, |context| context.preferences[preference as usize])
    }

    /// Sets a preference of the current context.
    ///
    /// # Errors
    /// Where there is no current context.
    pub fn set_preference(&self, preference: Preference, value: u32) -> Result<(), CuResult> {
        self.alter(self.require_current()?, |context| context.preferences[preference as usize] = value)
    }

    // What cudart keeps in a context.

    /// Keeps `value` under `key` in a context. When the context ends, `destructor` is called on the thread
    /// that ends it, and may call CUDA.
    ///
    /// # Errors
    /// Where there is no such context, and OUT_OF_MEMORY where it keeps too much.
    pub fn put(
        &self,
        context: Option<ContextHandle>,
        key: usize,
        value: usize,
        destructor: Option<Destructor>,
    ) -> Result<(), CuResult> {
        let (context, _) = self.require(context)?;
        self.alter(context, |context| context.storage.put(key, value, destructor))?
    }

    /// Forgets what is kept under `key`, without calling its destructor.
    ///
    /// # Errors
    /// Where there is no such context, and INVALID_HANDLE where nothing is kept there.
    pub fn delete(&self, context: Option<ContextHandle>, key: usize) -> Result<(), CuResult> {
        let (context, _) = self.require(context)?;
        self.alter(context, |context| context.storage.delete(key))?
    }

    /// What is kept under `key`. Asked some 500 times an inference: a few nanoseconds.
    ///
    /// # Errors
    /// Where there is no such context, and INVALID_HANDLE where nothing is kept there.
    #[inline]
    pub fn get(&self, context: Option<ContextHandle>, key: usize) -> Result<usize, CuResult> {
        let epoch = self.epoch.load(Ordering::Acquire);
        if let Some(asked) = context.or_else(stack::current)
            && let Some(value) = storage::recall(epoch, asked, key)
        {
            return Ok(value);
        }
        let (context, _) = self.require(context)?;
        let value = self.look(Some(context), |context| context.storage.get(key))??;
        storage::remember(epoch, context, key, value);
        Ok(value)
    }

    // Inside.

    /// The context asked for, alive, and its id.
    #[inline]
    fn require(&self, context: Option<ContextHandle>) -> Result<(ContextHandle, u64), CuResult> {
        let asked = context.or_else(stack::current).ok_or(CuResult::INVALID_CONTEXT)?;
        let epoch = self.epoch.load(Ordering::Acquire);
        let found = thread::this(|this| this.found_alive.get());
        if found.epoch == epoch && found.context == Some(asked) {
            return Ok((asked, found.id));
        }
        self.find_alive(asked, epoch)
    }

    #[cold]
    fn find_alive(&self, asked: ContextHandle, epoch: u64) -> Result<(ContextHandle, u64), CuResult> {
        let found = self.read().live.get(&asked).map(|context| context.id);
        let id = found.ok_or_else(|| self.missing(asked))?;
        thread::this(|this| this.found_alive.set(FoundAlive { epoch, context: Some(asked), id }));
        Ok((asked, id))
    }

    /// Why a context is not there: it has been current or is the primary one, so it has ended; or it never
    /// was.
    #[cold]
    fn missing(&self, context: ContextHandle) -> CuResult {
        if context == self.primary || stack::current() == Some(context) {
            CuResult::CONTEXT_IS_DESTROYED
        } else {
            CuResult::INVALID_CONTEXT
        }
    }

    /// A context may be made current while it exists; the primary one always, because cudart does so first.
    fn check_known(&self, context: ContextHandle) -> Result<(), CuResult> {
        let is_known = context == self.primary || self.read().live.contains_key(&context);
        if is_known { Ok(()) } else { Err(CuResult::INVALID_CONTEXT) }
    }

    fn look<R>(
        &self,
        context: Option<ContextHandle>,
        look: impl FnOnce(&Context) -> R,
    ) -> Result<R, CuResult> {
        let asked = context.or_else(stack::current).ok_or(CuResult::INVALID_CONTEXT)?;
        let state = self.read();
        state.live.get(&asked).map(look).ok_or_else(|| self.missing(asked))
    }

    fn alter<R>(&self, context: ContextHandle, alter: impl FnOnce(&mut Context) -> R) -> Result<R, CuResult> {
        let mut state = self.write();
        let result = state.live.get_mut(&context).map(alter).ok_or_else(|| self.missing(context))?;
        self.change(state);
        Ok(result)
    }

    fn end_primary(&self, mut state: RwLockWriteGuard<'_, State>) -> Ended {
        let Some(ended) = state.live.remove(&self.primary) else { return Ended::No };
        // The flags outlive the context.
        self.set_primary_state(PrimaryState { is_active: false, ..self.primary_state() });
        self.change(state);
        ended.storage.end(self.primary);
        Ended::Yes
    }

    /// Call with the lock held for writing.
    fn set_primary_state(&self, PrimaryState { flags, is_active }: PrimaryState) {
        self.primary_state.store(u64::from(flags) << 1 | u64::from(is_active), Ordering::Release);
    }

    /// Ends a change: what threads remember is void from here on.
    fn change(&self, state: RwLockWriteGuard<'_, State>) {
        self.epoch.fetch_add(1, Ordering::Release);
        drop(state);
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        // A panic cannot leave the state half changed: each change is a single insertion, removal or store.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, handle: ContextHandle, flags: u32, api_version: u32) -> Result<(), CuResult> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        if self.live.len() >= CONTEXTS_MAX {
            return Err(CuResult::OUT_OF_MEMORY);
        }
        let context = Context {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            flags,
            api_version,
            attachments: 1,
            preferences: [0; 2],
            storage: Storage::default(),
        };
        self.live.insert(handle, context);
        Ok(())
    }
}

/// Handles look like addresses, so that a program that prints or aligns them is not surprised, and are none.
fn new_handle() -> ContextHandle {
    static NEXT: AtomicUsize = AtomicUsize::new(0x5000_0000);
    let raw = NEXT.fetch_add(0x10, Ordering::Relaxed);
    // Never zero before the counter has gone around, which 2^32 contexts do not reach.
    ContextHandle(NonZeroUsize::new(raw).unwrap_or(NonZeroUsize::MIN))
}

#[cfg(test)]
pub(super) fn fresh() -> Contexts {
    Contexts::new()
}

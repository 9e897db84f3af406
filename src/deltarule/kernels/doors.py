"""Parts and doors: what only compiled code calls is linked into the door that Python calls, and optimised there.

Numba takes every function for a library of its own: it optimises it, inlines what it calls, makes machine code of
it, and then does the same again in each caller up to the door. Of a tree of kernels with one door nearly all of that
is thrown away. Here a part is translated to LLVM's language and no further; its door gathers the parts below it, each
once, and goes through LLVM's optimiser and code generator a single time.

Numba's compiler is meant to be extended (its manual: "Customizing the compiler"), but a code library's insides are
not public. Where they are not as they are known here, :data:`PART` and :data:`DOOR` are empty: the kernels are then
compiled as Numba does it, to the same results in twice the time.
"""

from __future__ import annotations

import gc
from typing import Any

PART: dict[str, Any] = {}
"""Options of a function that only compiled code calls."""

DOOR: dict[str, Any] = {}
"""Options of a function that Python calls."""

try:
    from llvmlite.binding import Linkage
    from numba import _dynfunc
    from numba.core.codegen import JITCodeLibrary
    from numba.core.compiler import CompilerBase, DefaultPassBuilder
    from numba.core.compiler_machinery import register_pass
    from numba.core.options import DefaultOptions
    from numba.core.typed_passes import NativeLowering

    _LIBRARY = ("_optimize_functions", "_optimize_final_module", "_get_module_for_linking", "_finalize_final_module")
    _known = all(hasattr(JITCodeLibrary, name) for name in _LIBRARY) and hasattr(DefaultOptions, "_nrt")
except ImportError:
    _known = False

if _known:

    class _Library(JITCodeLibrary):
        """Code that is optimised as a whole, and not function by function before."""

        def _optimize_functions(self, module: Any) -> None:
            module.data_layout = self._codegen._data_layout

    class _Part(_Library):
        """A function in LLVM's language, without machine code."""

        def finalize(self) -> None:
            self._finalized = True

        def _below(self, found: dict[Any, None]) -> dict[Any, None]:
            """This library and all that it calls, each once."""
            if self not in found:
                found[self] = None
                for library in self._linking_libraries:
                    if isinstance(library, _Part):
                        library._below(found)
                    else:
                        found[library] = None
            return found

        def _alone(self) -> Any:
            """This function's own code, as any number of others may link it."""
            module = self._final_module.clone()
            for function in module.functions:
                if not function.is_declaration and function.linkage == Linkage.external:
                    function.linkage = "linkonce_odr"
            return module

        def _get_module_for_linking(self) -> Any:
            if self._shared_module is None:
                module = self._alone()
                for library in self._below({}):
                    if library is not self:
                        other = library._alone() if isinstance(library, _Part) else library._get_module_for_linking()
                        module.link_in(other, preserve=True)
                self._shared_module = module
            return self._shared_module

    class _Door(_Library):
        """A function that Python calls, with all its parts."""

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self._parts: dict[_Part, None] = {}

        def add_linking_library(self, library: Any) -> None:
            for each in library._below({}) if isinstance(library, _Part) else (library,):
                if isinstance(each, _Part):
                    self._parts[each] = None
                else:
                    super().add_linking_library(each)

        def finalize(self) -> None:
            for part in self._parts:
                self._reload_init.update(part._reload_init)
                self._final_module.link_in(part._alone(), preserve=False)
            super().finalize()

        def _optimize_final_module(self) -> None:
            passes, builder = self._codegen._module_pass_manager()
            passes.run(self._final_module, builder)

    @register_pass(mutates_CFG=True, analysis_only=False)
    class _PartLowering(NativeLowering):
        """To LLVM's language; what Numba calls the function by is an object that has no code."""

        _name = "part_lowering"

        def run_pass(self, state: Any) -> bool:
            library = state.library = _Part(state.targetctx.codegen(), state.func_id.func_qualname)
            state.flags.no_compile = True
            super().run_pass(state)
            lowered = state["cr"]
            described = lowered.fndesc
            name = _dynfunc.make_function(
                described.lookup_module(), described.qualname.split(".")[-1], "", 0, lowered.env, (library,)
            )
            state.targetctx.insert_user_function(name, described, [library])
            state["cr"] = lowered._replace(cfunc=name)
            return True

    class _PartCompiler(CompilerBase):
        def define_pipelines(self) -> list[Any]:
            manager = DefaultPassBuilder.define_nopython_pipeline(self.state)
            manager.passes = [(_PartLowering if p is NativeLowering else p, words) for p, words in manager.passes]
            manager._finalized = False
            manager.finalize()
            return [manager]

    class _DoorCompiler(CompilerBase):
        def define_pipelines(self) -> list[Any]:
            self.state.library = _Door(self.state.targetctx.codegen(), self.state.func_id.func_qualname)
            self.state.library.enable_object_caching()
            return [DefaultPassBuilder.define_nopython_pipeline(self.state)]

        def _compile_core(self) -> Any:
            """Without the collector of garbage: it would walk through millions of objects that are all in use."""
            collects = gc.isenabled()
            gc.disable()
            try:
                return super()._compile_core()
            finally:
                if collects:
                    gc.enable()

    PART = {"pipeline_class": _PartCompiler, "_nrt": False}  # arrays are borrowed from the door, and not counted
    DOOR = {"pipeline_class": _DoorCompiler}

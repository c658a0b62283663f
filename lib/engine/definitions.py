"""Which definitions of `lib` a piece of code uses, and what each of them holds.

A *definition* is what a name at the top level of a module is bound to: a function, a class (which counts whole) or a
constant, also inside of `if`, `try`, `with` and `for`, and with what is added later (`NAMES += ...`, `TABLE[x] = ...`).
Code uses the definitions that it names, through every form of import, attributes of modules and re-exports, and what
those use in turn. Names have Python's own scopes: a local variable is no use of a definition of the same name.
Comments, docstrings and `if __name__ == "__main__"` do not count. Besides:

- Statements that define nothing (`torch.set_num_threads(1)`, `TABLE.update(...)`), and definitions that a function of
  `lib` decorates, count as soon as their module is imported.
- A module that is used as a value (`getattr(module, name)`), or that is named in a text ("lib.data.digits"), counts
  whole; "lib.data.digits.digits" is that one definition.

A *registry* is a dictionary literal at the top level whose keys are texts, or names of texts, such as SAMPLERS. It
counts entry by entry:

- `SAMPLERS["ddim"]` uses that entry. `SAMPLERS[name]` and `SAMPLERS.get(name)` use the entries that the run's
  parameters name (a text, or one in a list). Where every entry names a definition, they also use those that a literal
  in the code names; a literal that is compared, that looks something else up, or that is the default of a parameter
  which the run sets does not count. Where nothing names an entry, all of them are used.
- Any other use is one of all entries: of those that were there when the run was made.
- A value that is the name of a module beside the registry, as in DATASETS, stands for the definition in that module
  which is called like the key, or else for the whole module.

A name is *only checked* in the message of an error, in the test of `if x not in NAMES: raise ...`, and as an argument
of a function that does no more with it (`lib.diffusion.known`). This is no use of it: a longer list of accepted names
changes no result.
"""
import ast
import functools
import hashlib
import re
import symtable

from lib import ROOT, InputError

PATH = re.compile(r"lib(\.\w+)+\.?")                        # of a module or definition, in a text


def without_docstrings(tree):
    """The syntax tree without its docstrings."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            if ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:] or [ast.Pass()]
    return tree


# ---------------------------------------------------------------- one piece of code
def dotted(node):
    """("lib", "data", "load") of the expression lib.data.load; None for what is no chain of names."""
    if isinstance(node, ast.Name):
        return (node.id,)
    above = dotted(node.value) if isinstance(node, ast.Attribute) else None
    return above and (*above, node.attr)


def text_of(node):
    """The text that an expression is, else None."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def bound_text(statement, name):
    """The text that `NAME = text`, or `NAME, OTHER = text, text`, binds to a name; None for other statements."""
    for target in getattr(statement, "targets", []):
        pairs = [(target, statement.value)]
        if isinstance(target, ast.Tuple) and isinstance(statement.value, ast.Tuple):
            pairs = zip(target.elts, statement.value.elts, strict=False)
        for one, value in pairs:
            if dotted(one) == (name,):
                return text_of(value)


def is_literal(node):
    return isinstance(node, ast.Constant) or (
        isinstance(node, (ast.Tuple, ast.List, ast.Set)) and all(map(is_literal, node.elts)))


class Reader(ast.NodeVisitor):
    """Collects what code names. names: [(chain, how)], how: "" as it is, ("item", key), ("item", None) for a key that
    is not known, ("argument", the called chain, position or keyword). texts: literals that may be a key somewhere;
    defaults: {(parameter, literal)}. imports: {name: (module, its name there or "")}; stars: modules of `from x import
    *`; runs: what may be a module that an import runs."""

    def __init__(self, package):
        self.package, self.guard = package, False
        self.names, self.texts, self.defaults = [], set(), set()
        self.imports, self.stars, self.runs = {}, [], set()

    def read(self, nodes):
        for node in filter(None, nodes):
            self.visit(node)

    def named(self, node, how=""):
        self.names.append((dotted(node), how))

    # ---- names
    def visit_Name(self, node):
        if not isinstance(node.ctx, ast.Store):
            self.named(node)

    def visit_Attribute(self, node):
        self.named(node) if dotted(node) else self.generic_visit(node)

    def visit_Subscript(self, node):
        if dotted(node.value):
            self.named(node.value, ("item", text_of(node.slice)))
        else:
            self.read(node.value.values if isinstance(node.value, ast.Dict) else [node.value])
        self.read([] if text_of(node.slice) else [node.slice])

    def visit_Call(self, node):
        called, arguments = dotted(node.func), list(enumerate(node.args)) + [(k.arg, k.value) for k in node.keywords]
        if called and called[-1] == "get" and len(called) > 1 and node.args:
            self.named(node.func.value, ("item", text_of(node.args[0])))
            arguments = arguments[1:] if text_of(node.args[0]) else arguments
        else:
            self.visit(node.func)
        for place, value in arguments:
            if called and dotted(value):
                self.named(value, ("argument", called, place))
            else:
                self.visit(value)

    # ---- what is only checked
    def visit_Raise(self, node):
        self.read([node.exc.func if isinstance(node.exc, ast.Call) else node.exc])

    def visit_Assert(self, node):
        self.check(node.test)

    def visit_If(self, node):
        if len(node.body) == 1 and isinstance(node.body[0], ast.Raise):
            self.check(node.test)
        else:
            self.visit(node.test)
        self.read([*node.body, *node.orelse])

    def check(self, test):
        before, self.guard = self.guard, True
        self.visit(test)
        self.guard = before

    def visit_Compare(self, node):
        for operator, part in zip([None, *node.ops], [node.left, *node.comparators], strict=True):
            checked = self.guard and isinstance(operator, (ast.In, ast.NotIn)) and dotted(part)
            self.read([] if checked or is_literal(part) else [part])

    # ---- literals
    def visit_Constant(self, node):
        self.texts |= {node.value} if isinstance(node.value, str) else set()

    def visit_MatchValue(self, node):
        self.read([] if is_literal(node.value) else [node.value])

    def default(self, name, value):
        if text_of(value) is None:
            self.read([value])
        else:
            self.defaults.add((name, value.value))

    def visit_arguments(self, node):
        places = [*node.posonlyargs, *node.args]
        self.read([*places, node.vararg, *node.kwonlyargs, node.kwarg])                 # their annotations
        for one, value in [*zip(places[::-1], node.defaults[::-1], strict=False),
                           *zip(node.kwonlyargs, node.kw_defaults, strict=True)]:
            self.default(one.arg, value)

    def visit_ClassDef(self, node):
        self.read([*node.decorator_list, *node.bases, *node.keywords])
        for part in node.body:
            if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
                self.visit(part.annotation)
                self.default(part.target.id, part.value)
            else:
                self.visit(part)

    # ---- imports
    def visit_Import(self, node):
        for alias in node.names:
            first = alias.name.split(".")[0]
            self.imports[alias.asname or first] = (alias.name if alias.asname else first), ""
            self.runs.add(alias.name)

    def visit_ImportFrom(self, node):
        parts = self.package.split(".")
        above = parts[:len(parts) - node.level + 1] if node.level else []
        base = ".".join(filter(None, [*above, node.module]))
        self.runs |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
        for alias in node.names:
            if alias.name == "*":
                self.stars.append(base)
            else:
                self.imports[alias.asname or alias.name] = base, alias.name


class Code:
    """Statements (or an expression) of a module: their text without docstrings, and what they name from outside.

    digest: a hash of the text, and of what the names of other libraries are bound to by `imports` of the module.
    """

    def __init__(self, nodes, package, imports=()):
        self.text = "\n".join(ast.unparse(node) for node in nodes)
        reader = Reader(package)
        reader.read(nodes)
        self.texts, self.defaults, self.imports, self.runs = reader.texts, reader.defaults, reader.imports, reader.runs
        self.paths = set(filter(PATH.fullmatch, self.texts))
        outside = names_from_outside(self.text) | set(self.imports)
        self.names = list(dict.fromkeys(name for name in reader.names if name[0][0] in outside))
        others = {chain[0]: imports[chain[0]] for chain, _ in self.names if chain[0] in imports}
        self.digest = short_hash([self.text, sorted(item for item in others.items() if not is_ours(item[1][0]))])


def short_hash(value):
    return hashlib.sha256(repr(value).encode()).hexdigest()[:12]


def names_from_outside(text):
    """The names in code that are neither parameters nor local variables there, by Python's own scopes."""
    names, tables = set(), [symtable.symtable(text, "", "exec")]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        names |= {s.get_name() for s in table.get_symbols()
                  if s.is_global() or (table.get_type() == "module" and s.is_referenced())}
    return names


# ---------------------------------------------------------------- one module
class Module:
    """The definitions of a module: pieces {name: [statements]}; imports, stars and runs as a Reader's; and `loose`: the
    statements that count as soon as it is imported."""

    def __init__(self, name, tree, is_package):
        self.name, self.package = name, name if is_package else name.rpartition(".")[0]
        self.pieces, self.loose, self.known = {}, [], {}
        top, changes = Reader(self.package), []
        for statement in without_docstrings(tree).body:
            if isinstance(statement, ast.If) and "__name__" in ast.unparse(statement.test):
                continue
            top.read(node for node in inside(statement) if isinstance(node, (ast.Import, ast.ImportFrom)))
            bound, changed, acts = bindings(statement)
            for one in bound:
                self.pieces.setdefault(one, []).append(statement)
            changes += [(one, statement) for one in changed]
            self.loose += [statement] * acts
        self.imports, self.stars, self.runs = top.imports, top.stars, top.runs
        for one, statement in changes:                      # TABLE[x] = ... of an own table, or of another module's
            (self.pieces[one] if one in self.pieces else self.loose).append(statement)
        self.loose += [node for nodes in self.pieces.values() for node in nodes
                       if any(map(self.is_own, getattr(node, "decorator_list", [])))]

    def is_own(self, decorator):
        """Whether a decorator comes from lib, and so may keep what it decorates."""
        chain = dotted(decorator.func if isinstance(decorator, ast.Call) else decorator)
        return not chain or chain[0] in self.pieces or is_ours(self.imports.get(chain[0], ("",))[0])

    def code(self, name, nodes=None):
        """The Code of a definition, or that of `nodes`, which is kept by this name."""
        if name not in self.known:
            self.known[name] = Code(nodes or self.pieces[name], self.package, self.imports)
        return self.known[name]

    def entries(self, name):
        """[(key, value)], as expressions, of a definition that may be a registry, else None."""
        first, *others = self.pieces[name]
        value = first.value if isinstance(first, (ast.Assign, ast.AnnAssign)) else None
        if not isinstance(value, ast.Dict) or not value.keys or None in value.keys:
            return None
        found = list(zip(value.keys, value.values, strict=True))
        for other in others:                                # TABLE[key] = value
            target = other.targets[0] if isinstance(other, ast.Assign) else None
            if not (isinstance(target, ast.Subscript) and dotted(target.value) == (name,)):
                return None
            found.append((target.slice, other.value))
        return found


def inside(statement):
    """A statement, and those of a compound one that run with it: not those of functions and classes."""
    yield statement
    if not isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        for node in ast.iter_child_nodes(statement):
            if isinstance(node, (ast.stmt, ast.ExceptHandler, ast.match_case)):
                yield from inside(node)


def bindings(statement):
    """Of a top-level statement: the names that it binds, those whose parts it sets (`TABLE[x] = ...`), and whether it
    does anything else."""
    bound, changed, acts = {}, {}, False
    for node in inside(statement):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            bound[node.name] = True
            continue
        acts |= isinstance(node, (ast.Expr, ast.Delete))
        own = [part for one in ast.iter_child_nodes(node) if not isinstance(one, (ast.stmt, ast.ExceptHandler))
               for part in ast.walk(one)]
        passing = {id(name) for part in own if isinstance(part, ast.comprehension) for name in ast.walk(part.target)}
        for part in own:
            if not isinstance(getattr(part, "ctx", None), ast.Store) or id(part) in passing:
                continue
            root = part
            while isinstance(root, (ast.Attribute, ast.Subscript)):
                root = root.value
            if isinstance(root, ast.Name):
                (bound if root is part else changed)[root.id] = True
    return bound, changed, acts


@functools.lru_cache(maxsize=1024)
def names_in(function):
    """The names that a function's body uses, parameters among them, but for those that it only checks."""
    reader = Reader("")
    reader.read(function.body)
    return {chain[0] for chain, _ in reader.names}


def is_ours(module):
    return f"{module}.".startswith("lib.")


@functools.lru_cache(maxsize=1024)
def parsed(name, text, is_package):
    try:
        return Module(name, ast.parse(text), is_package)
    except SyntaxError as error:
        raise InputError(f"{name}, line {error.lineno}: {error.msg}") from None


# ---------------------------------------------------------------- all modules
class Modules:
    """The modules of `lib` in a folder, each file read once: what they hold at one moment. skipped: the districts that
    are not looked into."""

    def __init__(self, root=ROOT, skipped=()):
        self.root, self.skipped, self.read, self.registries = root, tuple(f"{name}." for name in skipped), {}, {}

    def without(self, *districts):
        """The same modules but for some districts."""
        other = Modules(self.root, districts)
        other.read = self.read
        return other

    def get(self, name):
        """The Module called lib.a.b, None where there is none."""
        if not is_ours(name) or f"{name}.".startswith(self.skipped):
            return None
        if name not in self.read:
            path = self.root / name.replace(".", "/")
            package, self.read[name] = path / "__init__.py", None
            if (file := package if package.is_file() else path.with_suffix(".py")).is_file():
                self.read[name] = parsed(name, file.read_text(encoding="utf-8"), file == package)
        return self.read[name]

    # ---- what a chain of names is
    def resolve(self, chain, module, imports):
        """[(module, name)] of the definitions that a chain of names means in code of a module; `imports` are those of
        the code itself. The name "*" stands for all definitions of a module."""
        first, *rest = chain
        return self.bound(imports[first], rest) if first in imports else self.own(module, first, rest)

    def bound(self, target, rest):
        """What a name that an import binds means, with the attributes `rest` of it."""
        module, names = target[0], [target[1], *rest] if target[1] else rest
        return self.attribute(module, names) if names else self.whole(module)

    def own(self, module, name, rest):
        """What a name means in the code of a module itself."""
        if (known := self.get(module)) is None:
            return []
        found = [(module, name)] if name in known.pieces else []
        if name in known.imports and known.imports[name] != (module, name):      # from . import name
            found += self.bound(known.imports[name], rest)
        return found or [one for star in known.stars if star != module for one in self.attribute(star, [name, *rest])]

    def attribute(self, module, names):
        """What the first of `names` means as an attribute of a module, with the attributes that follow."""
        if found := self.own(module, names[0], names[1:]):
            return found
        if self.get(below := f"{module}.{names[0]}"):
            return self.attribute(below, names[1:]) if names[1:] else self.whole(below)
        return self.own(module, "__getattr__", [])

    def whole(self, module):
        return [(module, "*")] if self.get(module) else []

    def path(self, text):
        """What a text such as "lib.data.digits" means; one that ends with a dot: all modules of a package."""
        if not text.endswith("."):
            return self.attribute("lib", text.split(".")[1:])
        names = [text + file.stem for file in sorted((self.root / text.replace(".", "/")).glob("*"))]
        return [one for name in names for one in self.whole(name)]

    # ---- registries and checks
    def registry(self, module, name):
        """{key: value as an expression} where a definition is a registry, else None."""
        if (module, name) not in self.registries:
            pairs = self.get(module).entries(name) or []
            entries = {self.constant(module, key): value for key, value in pairs}
            self.registries[module, name] = None if None in entries or len(entries) < len(pairs) else entries or None
        return self.registries[module, name]

    def holds_definitions(self, module, name):
        """Whether each value of a registry names a definition of lib, or a module beside the registry."""
        codes = {key: self.get(module).code((name, key), [value]) for key, value in self.registry(module, name).items()}
        return all(self.beside(module, self.registry(module, name)[key])
                   or any(self.resolve(chain, module, {}) for chain, _ in code.names) for key, code in codes.items())

    def beside(self, module, value):
        """The Module whose name an expression is, in the package of a module; else None."""
        return text_of(value) and self.get(f"{self.get(module).package}.{text_of(value)}")

    def constant(self, module, node):
        """The text that an expression is, or that the name in it is bound to; else None."""
        for place, name in self.resolve(chain, module, {}) if (chain := dotted(node)) else []:
            pieces = self.get(place).pieces.get(name, [])
            return bound_text(pieces[0], name) if len(pieces) == 1 else None
        return text_of(node)

    def only_checks(self, function, place):
        """Whether a function, (module, name), does no more with an argument than to check other values against it.
        place: the argument's position or keyword."""
        pieces = self.get(function[0]).pieces.get(function[1], [])
        if len(pieces) != 1 or not isinstance(pieces[0], ast.FunctionDef):
            return False
        places = [one.arg for one in (*pieces[0].args.posonlyargs, *pieces[0].args.args)]
        parameter = dict(enumerate(places)).get(place, place)
        return isinstance(parameter, str) and parameter not in names_in(pieces[0])


# ---------------------------------------------------------------- what code uses
class Use:
    """What pieces of code use of `modules`; `also`: [(module, name)] of those that they use without naming them.

    named: the texts among the run's parameters; given: the names of the parameters. before: names of the definitions in
    the record of an earlier run; of a registry that is used as a whole, entries that are not among them are left out.
    """

    def __init__(self, modules, *codes, named=(), given=(), before=None, also=()):
        self.modules, self.named, self.given, self.before = modules, set(named), set(given), before
        self.found, self.imported, self.texts = {}, set(), set()
        self.asked = {}                                     # {registry: whether it is used as a whole}
        self.todo = [(code, "") for code in codes]
        for module, name in also:
            if modules.get(module):
                self.use(module, name)
        while self.todo or self.look_up():
            self.read(*self.todo.pop())

    def record(self):
        """{definition: hash of its code}"""
        return {name: code.digest for name, code in sorted(self.found.items())}

    def add(self, name, code, module):
        if name not in self.found:
            self.found[name] = code
            self.todo.append((code, module))

    def read(self, code, module):
        """Use all that the code of a module names."""
        self.texts |= code.texts | {text for parameter, text in code.defaults if parameter not in self.given}
        for name in code.runs:
            self.run(name)
        for chain, how in code.names:
            if how and how[0] == "argument":
                functions = self.modules.resolve(how[1], module, code.imports)
                if functions and all(self.modules.only_checks(function, how[2]) for function in functions):
                    continue
            for place, name in self.modules.resolve(chain, module, code.imports):
                self.use(place, name, how)
        asked = {f"{self.modules.get(place).package}." for place, _ in self.asked}
        for text in code.paths - asked:                     # f"lib.data.{DATASETS[name]}" is the registry's
            for place, name in self.modules.path(text):
                self.use(place, name)

    def run(self, name):
        """A module that is imported runs, and so do those that it imports: their loose statements count."""
        if name in self.imported or (module := self.modules.get(name)) is None:
            return
        self.imported.add(name)
        for other in [name.rpartition(".")[0], *sorted(module.runs)]:
            self.run(other)
        if module.loose:
            self.add(f"{name} (statements)", module.code("", module.loose), name)

    def use(self, module, name, how=""):
        self.run(module)
        known = self.modules.get(module)
        if name == "*":
            for one in known.pieces:
                self.use(module, one)
        elif (registry := self.modules.registry(module, name)) is None:
            self.add(f"{module}.{name}", known.code(name), module)
        elif how and how[0] == "item" and how[1] in registry:
            self.entry(module, name, how[1])
        else:
            self.asked[module, name] = self.asked.get((module, name), False) or how != ("item", None)

    def look_up(self):
        """Use the entries of the registries that are asked for by now; whether there were new ones."""
        number = len(self.found)
        for (module, name), whole in list(self.asked.items()):
            registry = self.modules.registry(module, name)
            keys = set(registry) & (self.named | self.texts)
            if whole or not keys & self.named and not (keys and self.modules.holds_definitions(module, name)):
                keys |= {key for key in registry if self.before is None or entry(module, name, key) in self.before}
            for key in sorted(keys):
                self.entry(module, name, key)
        return len(self.found) > number

    def entry(self, module, name, key):
        """Use one entry of a registry."""
        if entry(module, name, key) in self.found:
            return
        known, value = self.modules.get(module), self.modules.registry(module, name)[key]
        self.add(entry(module, name, key), known.code((name, key), [value]), module)
        if beside := self.modules.beside(module, value):
            self.use(beside.name, key if key in beside.pieces else "*")


def entry(module, name, key):
    """What an entry of a registry is called in a record."""
    return f"{module}.{name}[{key!r}]"

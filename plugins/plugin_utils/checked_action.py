# Copyright: the flambe-ansible contributors. MIT license.
"""The action of modules with which a role of this collection begins: the role's variables are checked first."""

from __future__ import annotations

import os

from ansible.errors import AnsibleError
from ansible.plugins.action.normal import ActionModule as NormalAction
from ansible.utils.display import Display
from ansible_collections.flambe.cluster.plugins.plugin_utils import variables

COLLECTION = "flambe.cluster"
COMMON = ("flambe_cluster_user", "flambe_cluster_root")  # several roles fall back to them
# The renamed roles and their former names, which are also the former prefixes of their variables.
FORMER = {"cluster_runner": "runner", "cluster_secrets": "secrets", "cluster_extensions": "extensions"}
REMOVED_IN = "0.2.0"

display = Display()


class ActionModule(NormalAction):
    """Runs the module, unless a variable of the role has a wrong value."""

    def run(self, tmp=None, task_vars=None):
        """Fail with one line per wrong value before anything is changed."""
        problems = self.find_problems(task_vars)
        return {"failed": True, "msg": "\n".join(problems)} if problems else self.run_module(tmp, task_vars)

    def run_module(self, tmp, task_vars):
        """Run the module on the host."""
        return super().run(tmp, task_vars)

    def find_problems(self, task_vars):
        """Return what is wrong with the variables of the task's role, if it belongs to this collection."""
        role = self._task._role
        if not role or role._role_collection != COLLECTION:
            return []
        former = FORMER.get(role._role_name)
        if former and any(parent.get_name() == f"{COLLECTION}.{former}" for parent in role.get_parents()):
            self.warn(f"the role {COLLECTION}.{former}", f"{COLLECTION}.{role._role_name}")
        path = os.path.join(role.get_role_path(), "meta", "argument_specs.yml")
        options = self._loader.load_from_file(path, cache="all")["argument_specs"]["main"]["options"]
        defaults = role.get_default_vars()
        found = (self.check_variable(one, options[one], defaults[one], task_vars) for one in options)
        return [problem for problem in dict.fromkeys(found) if problem]

    def check_variable(self, name, option, default, task_vars):
        """Return what is wrong with one variable, "" if nothing is; warn if it was set by its former name."""
        is_default = task_vars.get(name, default) == default
        setter = self.find_setter(name, str(default), task_vars) if is_default else name
        if is_default and setter == name and not option.get("required"):
            return ""
        try:
            templar = self._templar if setter == name else self._templar.copy_with_new_env(available_variables={})
            fallback, value = templar.template(default), self._templar.template(task_vars.get(setter, default))
            return variables.find_problem(setter, option, fallback, value, task_vars["hostvars"])
        except AnsibleError:  # of a template; the module's arguments report it
            return ""

    def find_setter(self, name, default, task_vars):
        """Return the variable to which the default of another one falls back; the other one if none is set."""
        former = name.removeprefix("cluster_")
        if f"{{{{ {former} | default(" in default and former in task_vars:
            self.warn(f"the variable {former}", name)
            return former
        return next((one for one in COMMON if one in default and one in task_vars), name)

    def warn(self, former, name):
        """Warn about a former name."""
        display.deprecated(f"{former} was renamed: use {name}", version=REMOVED_IN, collection_name=COLLECTION)

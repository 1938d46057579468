"""What an export holds and whether it is sound, judged from what was read. As pure as all of core.

`verify` has the report; `audit`, `audit_rows`, `spelling`, `consistency` and `accounting` judge
lines and files for it. `holdings` and `compare` set an export against a listing of now. `status`
and `diagnosis` are what the commands of those names say.
"""

@echo off
rem Windows: finds a Python that is new enough and hands over to start.py.
for %%p in ("py -3.11" "py -3.12" "py -3.13" "python") do (
  %%~p -c "import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))" >nul 2>&1 && (
    %%~p "%~dp0start.py" %*
    goto end
  )
)
echo NOT READY: no Python 3.11, 3.12 or 3.13 was found. Install one, then start again.
:end
pause

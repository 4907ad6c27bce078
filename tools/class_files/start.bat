@echo off
rem Windows: finds a Python that is new enough and hands over to start.py.
cd /d "%~dp0"
for %%v in (3.11 3.12 3.13) do (
  py -%%v -c "import sys" >nul 2>&1 && (
    py -%%v start.py %*
    pause
    exit /b
  )
)
echo NOT READY: no Python 3.11, 3.12 or 3.13 was found. Install one, then start again.
pause

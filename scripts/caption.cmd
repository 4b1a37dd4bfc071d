@echo off
rem Runs the PowerShell script of the same name beside this file: by double-click, or from anywhere with arguments.
rem The script is allowed for this one process only; no setting of Windows is changed.
setlocal EnableExtensions DisableDelayedExpansion
set "status=1"
if not exist "%~dp0%~n0.ps1" goto not_installed
set "shell=%SystemRoot%\System32\WindowsPowerShell\v1.0\powershell.exe"
if not exist "%shell%" set "shell=powershell.exe"
"%shell%" -NoLogo -NoProfile -ExecutionPolicy Bypass -File "%~dp0%~n0.ps1" %*
set "status=%ERRORLEVEL%"
goto ended

:not_installed
echo error: %~n0.ps1 is not in its place yet.
echo hint: double-click Install.cmd in the folder above first, which puts it there; inside a zip choose Extract All before that.

:ended
if defined ENGINE_NO_PAUSE exit /b %status%

rem Explorer runs  cmd /c ""file" "  in a window that closes with it: wait there. Elsewhere wait only after an error, and only where
rem this cmd was started for nothing but this file.
setlocal EnableDelayedExpansion
set "line=!CMDCMDLINE!"
if not defined line exit /b %status%
set "tail=!line:~-3!"
set tail=!tail:"=Q!
set "wait="
if "!tail!"=="Q Q" set "wait=1"
set "others=!line:%~nx0=!"
if not "!status!"=="0" if not "!others!"=="!line!" set "wait=1"
if not "!status!"=="0" echo Ended with an error: the lines above say why.
if defined wait pause
exit /b %status%

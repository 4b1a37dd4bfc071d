@echo off
rem Sets everything up inside this folder: Python, packages, torch for your card. Double-click it; run it again whenever it was interrupted.
rem It writes nothing outside this folder, needs no administrator, and ends with "ready: a real training step ran on ...".

setlocal EnableExtensions DisableDelayedExpansion

rem ---- settings: change them only where something does not work ------------------------------------------------------------------------
rem torch_build    auto, or cu130 (GTX 16, RTX 20 and newer), cu126 (older cards, older drivers), cpu
rem proxy          such as http://127.0.0.1:7890 ; empty: what Windows is set to
rem pip_mirror     a package index for pip, ending in /simple ; empty: pip's own
rem torch_mirror   a copy of the PyTorch project's folder of wheels, holding cu130/ and cu126/ ; empty: the original
rem python_mirror  a server with python.org's folders ; empty: the original
set "torch_build=auto"
set "proxy="
set "pip_mirror="
set "torch_mirror="
set "python_mirror="
rem ---------------------------------------------------------------------------------------------------------------------------------------

set "status=1"
set "clicked="
set "here=%~dp0"
set "tools=%SystemRoot%\System32"
call :was_it_clicked

if "%here:~0,2%"=="\\" (
    set "message=this folder is on a network share, and Windows programs cannot work in one."
    set "next=copy the folder to a drive of this PC, and run Install.cmd there"
    goto not_ready
)
if not exist "%~dp0install\downloads.toml" (
    set "message=Install.cmd is alone: it was started from inside the zip, or not everything was unpacked."
    set "next=right-click the zip, choose Extract All, and run Install.cmd in the new folder"
    goto not_ready
)
if /i "%PROCESSOR_ARCHITECTURE%"=="x86" if not defined PROCESSOR_ARCHITEW6432 (
    set "message=this is a 32-bit Windows."
    set "next=use a PC with 64-bit Windows 10 or 11"
    goto not_ready
)
cd /d "%~dp0"
if not exist logs mkdir logs
echo yes>logs\writable.txt
if not exist logs\writable.txt (
    set "message=this folder cannot be written to."
    set "next=move it to a folder of your own, such as D:\lora, and run Install.cmd there"
    goto not_ready
)
del /q logs\writable.txt
>>logs\install.log echo %DATE% %TIME%  Install.cmd

echo Setting everything up in this folder. What is missing is downloaded, up to 3 GB, which takes 10 minutes to an hour.
echo You may interrupt it at any moment: run it again, and it goes on.
echo.
echo [1/6] Python
set "python_file=" & set "python_base=" & set "python_path=" & set "python_sha256=" & set "nuget_sha256="
set "in_python=" & set "in_nuget="
for /f "usebackq eol=# tokens=1,* delims== " %%a in ("install\downloads.toml") do (
    if "%%a"=="[python]" set "in_python=yes"
    if "%%a"=="[python-nuget]" set "in_python="
    if "%%a"=="[python-nuget]" set "in_nuget=yes"
    if defined in_python if "%%a"=="file" if not defined python_file set "python_file=%%~b"
    if defined in_python if "%%a"=="base" if not defined python_base set "python_base=%%~b"
    if defined in_python if "%%a"=="path" if not defined python_path set "python_path=%%~b"
    if defined in_python if "%%a"=="sha256" if not defined python_sha256 set "python_sha256=%%~b"
    if defined in_nuget if "%%a"=="sha256" if not defined nuget_sha256 set "nuget_sha256=%%~b"
)
if not defined python_sha256 (
    set "message=install\downloads.toml is damaged."
    set "next=unpack the zip again over this folder"
    goto not_ready
)
if not exist "python_310\python310._pth" (
    set "message=python_310\python310._pth is missing."
    set "next=unpack the zip again over this folder"
    goto not_ready
)

rem The package in the NuGet layout counts where the user has put one; else the embeddable zip.
set "archive="
set "wanted=%python_sha256%"
for %%f in (python_310\python*.nupkg wheels\python*.nupkg) do set "archive=%%f"
if defined archive set "wanted=%nuget_sha256%"
set "unpacked="
if exist "python_310\unpacked.txt" set /p unpacked=<"python_310\unpacked.txt"
if "%unpacked%"=="%wanted%" if exist "python_310\python.exe" goto python_ready

if not defined archive if exist "wheels\%python_file%" set "archive=wheels\%python_file%"
if not defined archive if exist "python_310\%python_file%" set "archive=python_310\%python_file%"
if not exist "%tools%\tar.exe" (
    set "message=this Windows is too old: it has no tar.exe and curl.exe, which came with Windows 10 version 1803."
    set "next=install Windows' updates, and run Install.cmd again"
    goto not_ready
)
set "message="
if not defined archive call :download
if defined message goto not_ready
call :hash "%archive%"
if not defined hash (
    set "message=%archive% cannot be read: another program, such as the antivirus, holds it."
    set "next=wait a minute, and run Install.cmd again"
    goto not_ready
)
if /i not "%hash%"=="%wanted%" (
    set "message=%archive% is not the right file: its SHA-256 is %hash%, and %wanted% was expected."
    set "next=delete that file, and run Install.cmd again"
    goto not_ready
)
echo       unpacking %archive%
del /q "python_310\unpacked.txt" 2>nul
rem The zip brings a python310._pth of its own; ours must survive.
if /i "%archive:~-6%"==".nupkg" (
    "%tools%\tar.exe" -xf "%archive%" -C python_310 --strip-components 1 "tools/*"
) else (
    "%tools%\tar.exe" -xf "%archive%" -C python_310 --exclude python310._pth
)
if errorlevel 1 (
    set "message=%archive% could not be unpacked."
    set "next=free some space, close what uses this folder, and run Install.cmd again"
    goto not_ready
)
>"python_310\unpacked.txt" echo %wanted%

:python_ready
python_310\python.exe -s -X utf8 -c "import sys; sys.exit(sys.version_info[:3] != (3, 10, 11))"
if errorlevel 1 (
    set "message=python_310\python.exe does not start."
    set "next=look whether the antivirus has removed something from python_310; delete python_310\unpacked.txt, and run Install.cmd again"
    goto not_ready
)
echo       3.10.11 in python_310
python_310\python.exe -s -X utf8 -m install "--torch=%torch_build%" "--proxy=%proxy%" "--pip_mirror=%pip_mirror%" "--torch_mirror=%torch_mirror%"
set "status=%errorlevel%"
goto done

:not_ready
echo.
echo not ready: %message%
echo next: %next%
if exist logs\install.log >>logs\install.log echo not ready: %message%
if exist logs\install.log >>logs\install.log echo next: %next%

:done
if defined clicked (
    echo.
    pause
)
exit /b %status%

rem ---- subroutines -----------------------------------------------------------------------------------------------------------------------

:download  into python_310, going on with what an earlier try left
if defined python_mirror set "python_base=%python_mirror%"
if not exist "%tools%\curl.exe" (
    set "message=this Windows is too old: it has no curl.exe, which came with Windows 10 version 1803."
    set "next=download %python_base%/%python_path% in a browser into python_310, and run Install.cmd again"
    exit /b 1
)
call :find_proxy
echo       downloading %python_base%/%python_path%
set "archive=python_310\%python_file%"
"%tools%\curl.exe" --fail --location --silent --show-error --retry 5 --retry-delay 2 --connect-timeout 30 --speed-limit 100 --speed-time 60 %proxy_option% --continue-at - --output "%archive%.part" "%python_base%/%python_path%"
set "curl_status=%errorlevel%"
if not exist "%archive%.part" goto download_failed
call :hash "%archive%.part"
if not defined hash (
    set "message=%archive%.part cannot be read: another program, such as the antivirus, holds it."
    set "next=wait a minute, and run Install.cmd again"
    exit /b 1
)
if /i "%hash%"=="%wanted%" (
    move /y "%archive%.part" "%archive%" >nul
    exit /b 0
)
if "%curl_status%"=="0" (
    del /q "%archive%.part"
    set "message=what came from %python_base% is not the right file: its SHA-256 is %hash%, and %wanted% was expected; it was removed."
    set "next=run Install.cmd again; if it stays the same, something between you and that server changes files: try another network, or python_mirror"
    exit /b 1
)
rem 22, 33 and 36 of curl: the server refused to go on with the part that is here
for %%c in (22 33 36) do if "%curl_status%"=="%%c" del /q "%archive%.part" 2>nul
:download_failed
set "message=%python_file% could not be downloaded (curl's status %curl_status%)."
set "next=check the internet connection or set proxy at the top of Install.cmd, and run it again; or download %python_base%/%python_path% in a browser into python_310"
exit /b 1

:find_proxy  curl does not know what Windows is set to
set "proxy_option="
if defined proxy set proxy_option=--proxy "%proxy%"
if defined proxy_option exit /b 0
if defined https_proxy exit /b 0
set "proxy_key=HKCU\Software\Microsoft\Windows\CurrentVersion\Internet Settings"
set "proxy_on="
set "proxy_server="
for /f "tokens=3" %%v in ('%tools%\reg.exe query "%proxy_key%" /v ProxyEnable 2^>nul') do set "proxy_on=%%v"
for /f "tokens=3" %%v in ('%tools%\reg.exe query "%proxy_key%" /v ProxyServer 2^>nul') do set "proxy_server=%%v"
if not defined proxy_server exit /b 0
if "%proxy_on%"=="0x1" set proxy_option=--proxy "%proxy_server%"
rem A list with a server for each protocol is left to the variable at the top.
if not "%proxy_server:;=%"=="%proxy_server%" set "proxy_option="
exit /b 0

:hash  the SHA-256 of a file, into hash; empty where it cannot be read within some seconds: an antivirus holds fresh files
set "hash="
set "tries=0"
:hash_again
for /f "skip=1 delims=" %%h in ('%tools%\certutil.exe -hashfile "%~1" SHA256 2^>nul') do if not defined hash set "hash=%%h"
if defined hash set "hash=%hash: =%"
if defined hash exit /b 0
set /a tries+=1
if %tries% geq 5 exit /b 0
"%tools%\ping.exe" -n 3 127.0.0.1 >nul
goto hash_again

:was_it_clicked  Explorer calls  cmd.exe /c ""<this file>" "  and the window closes when this file ends
setlocal EnableDelayedExpansion
set "line=!cmdcmdline:"=#!"
set "answer="
if "!line:~-3!"=="# #" set "answer=yes"
endlocal & set "clicked=%answer%"
if defined ENGINE_NO_PAUSE set "clicked="
exit /b 0

/* A stand-in for a program of Windows that Wine lacks: runs standins.py with its own name and arguments, and passes on the exit status.
 * STANDIN_PYTHON and STANDIN_SCRIPT say where that is. */
#include <windows.h>
#include <wchar.h>

int main(void)
{
    static wchar_t self[MAX_PATH], command[32768];
    wchar_t *name, *dot, *rest = GetCommandLineW();
    STARTUPINFOW start = {sizeof start};
    PROCESS_INFORMATION process;
    DWORD status = 1;

    GetModuleFileNameW(NULL, self, MAX_PATH);
    name = wcsrchr(self, L'\\') + 1;
    if ((dot = wcsrchr(name, L'.'))) *dot = 0;
    if (*rest == L'"') rest = wcschr(rest + 1, L'"') + 1; /* past the program's own name */
    else while (*rest && *rest != L' ') rest++;
    _snwprintf(command, 32767, L"\"%ls\" -s -X utf8 \"%ls\" %ls %ls", _wgetenv(L"STANDIN_PYTHON"), _wgetenv(L"STANDIN_SCRIPT"), name, rest);
    start.dwFlags = STARTF_USESTDHANDLES;
    start.hStdInput = GetStdHandle(STD_INPUT_HANDLE);
    start.hStdOutput = GetStdHandle(STD_OUTPUT_HANDLE);
    start.hStdError = GetStdHandle(STD_ERROR_HANDLE);
    if (!CreateProcessW(NULL, command, NULL, NULL, TRUE, 0, NULL, NULL, &start, &process)) return 9009;
    WaitForSingleObject(process.hProcess, INFINITE);
    GetExitCodeProcess(process.hProcess, &status);
    return (int)status;
}

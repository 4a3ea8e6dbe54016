# Debian's firmware packages are in a separate component. Read before debian-minimal writes its sources from this.
export DIB_DEBIAN_COMPONENTS=${DIB_DEBIAN_COMPONENTS:-main,non-free-firmware}
